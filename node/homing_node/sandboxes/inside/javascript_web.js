// What a dynamic worker of JavaScript finds of the web's interfaces: URL, URLSearchParams, Headers, Request, Response
// and fetch. Bodies are whole. Evaluated once, in the zygote; nothing of it is in sight of a run of one script.
(() => {
  "use strict";
  const inner = globalThis.__inner;
  const { bytesOf, define, fromUtf8, utf8 } = inner;
  const iterate = Symbol.iterator;

  // -- URL: the parts of https://url.spec.whatwg.org that requests need; hosts are ASCII --------------------------

  const PORTS = { "http:": "80", "https:": "443", "ws:": "80", "wss:": "443", "ftp:": "21" };
  const IN_PATH = /[\0-\x20"#<>?`{}^\x7f-\u{10ffff}]/gu, IN_QUERY = /[\0-\x20"#<>'\x7f-\u{10ffff}]/gu;
  const IN_FRAGMENT = /[\0-\x20"<>`\x7f-\u{10ffff}]/gu, IN_USER = /[\0-\x20"#<>?`{}^/:;=@[\\\]|\x7f-\u{10ffff}]/gu;
  const percent = (text, which) => text.toWellFormed().replace(which, (each) => each < "\x80"
    ? `%${each.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}` : encodeURIComponent(each));

  class NoURL extends TypeError {
    constructor(text, why = "") { super(`Invalid URL: ${`${text}`.slice(0, 200)}${why && ` (${why})`}`); }
  }
  Object.defineProperty(NoURL.prototype, "name", { value: "TypeError" });

  function hostOf(text, special) {
    if (text.startsWith("[")) {
      if (!/^\[[0-9a-f:.]{2,45}\]$/i.test(text)) throw new NoURL(text, "no address of IPv6");
      return text.toLowerCase();
    }
    const host = special ? unescaped(text).toLowerCase() : text;
    if (/[^\0-\x7f]/.test(host)) throw new NoURL(text, "its host is to be written in ASCII, as xn--…");
    if (/[\0-\x20"#%/:<>?@[\\\]^`{|}\x7f]/.test(host) || (special && !host)) throw new NoURL(text, "its host is none");
    if (/(^|\.)[0-9]+\.?$/.test(host) && !/^((25[0-5]|2[0-4]\d|1?\d?\d)(\.(?!$)|$)){4}$/.test(host)) {
      throw new NoURL(text, "no address of IPv4");
    }
    return host;
  }

  function setAuthority(url, text) {
    const special = url.protocol in PORTS;
    const at = text.lastIndexOf("@");
    if (at >= 0) {
      const [, user, secret] = /^([^:]*):?([^]*)$/.exec(text.slice(0, at));
      [url.username, url.password] = [percent(user, IN_USER), percent(secret, IN_USER)];
    }
    const [, host, port] = /^(\[[^\]]*\]|[^:]*)(?::([^]*))?$/.exec(text.slice(at + 1)) ?? [];
    if (host === undefined) throw new NoURL(text, "its host is none");
    url.host = hostOf(host, special);
    url.port = portOf(port ?? "", url.protocol);
  }

  function portOf(text, protocol) {
    if (!/^[0-9]*$/.test(text) || Number(text) > 65535) throw new NoURL(text, "its port is none");
    const port = text && String(Number(text));
    return port === PORTS[protocol] ? "" : port;
  }

  function pathOf(text, special, before) {
    const parts = (special ? text.replace(/\\/g, "/") : text).split("/");
    const path = before;
    parts.forEach((part, place) => {
      const last = place === parts.length - 1;
      if (/^(\.|%2e)$/i.test(part)) {
        if (last) path.push("");
      } else if (/^(\.|%2e){2}$/i.test(part)) {
        path.pop();
        if (last) path.push("");
      } else {
        path.push(percent(part, IN_PATH));
      }
    });
    return `/${path.join("/")}`;
  }

  function parseURL(given, base) {
    const text = `${given}`.replace(/^[\0-\x20]+|[\0-\x20]+$/g, "").replace(/[\t\n\r]/g, "");
    const [, before, fragment] = /^([^#]*)(?:#([^]*))?$/.exec(text);
    const [, front, query] = /^([^?]*)(?:\?([^]*))?$/.exec(before);
    const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(front)?.[0];
    const url = { protocol: scheme?.toLowerCase() ?? base?.protocol, username: "", password: "", host: "", port: "" };
    let rest = scheme ? front.slice(scheme.length) : front;
    const special = url.protocol in PORTS;
    if (scheme === undefined && base === undefined) throw new NoURL(given);
    const slashes = special ? /^[/\\]{2,}/ : /^\/\//;
    const own = scheme !== undefined && !(special && base?.protocol === url.protocol && !slashes.test(rest));
    if (own && special) rest = rest.replace(/^[/\\]*/, "//");
    if (slashes.test(rest)) {
      const [, authority, path] = (special ? /^([^/\\]*)([^]*)$/ : /^([^/]*)([^]*)$/).exec(rest.replace(slashes, ""));
      setAuthority(url, authority);
      url.pathname = path || special ? pathOf(path.replace(/^[/\\]/, ""), special, []) : "";
    } else if (own) {
      url.pathname = rest.startsWith("/") ? pathOf(rest.slice(1), false, []) : percent(rest, /[\0-\x1f\x7f-\u{10ffff}]/gu);
    } else {
      if (!base.pathname.startsWith("/")) throw new NoURL(given);
      Object.assign(url, { username: base.username, password: base.password, host: base.host, port: base.port });
      const above = base.pathname.slice(1).split("/").slice(0, -1);
      const rooted = special ? /^[/\\]/ : /^\//;
      url.pathname = rest === "" ? base.pathname : pathOf(rest.replace(rooted, ""), special, rooted.test(rest) ? [] : above);
    }
    const kept = rest === "" && !own && query === undefined ? base.search : "";
    url.search = query ? `?${percent(query, IN_QUERY)}` : kept;
    url.hash = fragment ? `#${percent(fragment, IN_FRAGMENT)}` : "";
    return url;
  }

  class URL {
    #parts;
    #params;
    constructor(text, base) {
      this.#parts = parseURL(text, base === undefined ? undefined : parseURL(base));
      this.#params = new URLSearchParams(this.#parts.search);
      linked.set(this.#params, (query) => { this.#parts.search = query && `?${query}`; });
    }
    static canParse(text, base) { return URL.parse(text, base) !== null; }
    static parse(text, base) {
      try {
        return new URL(text, base);
      } catch {
        return null;
      }
    }
    get href() {
      const { protocol, username, password, pathname, search, hash } = this.#parts;
      const user = username || password ? `${username}${password && `:${password}`}@` : "";
      const slashes = this.host || protocol in PORTS || protocol === "file:" ? "//" : "";
      return `${protocol}${slashes}${user}${this.host}${pathname}${search}${hash}`;
    }
    set href(text) { this.#become(parseURL(text)); }
    get origin() { return this.#parts.protocol in PORTS ? `${this.#parts.protocol}//${this.host}` : "null"; }
    get protocol() { return this.#parts.protocol; }
    set protocol(text) {
      const wanted = `${text}`.toLowerCase().replace(/:?$/, ":");
      if (wanted in PORTS && this.#parts.protocol in PORTS) {
        this.#parts.protocol = wanted;
        this.#parts.port = portOf(this.#parts.port, wanted);
      }
    }
    get username() { return this.#parts.username; }
    set username(text) { this.#parts.username = percent(`${text}`, IN_USER); }
    get password() { return this.#parts.password; }
    set password(text) { this.#parts.password = percent(`${text}`, IN_USER); }
    get host() { return this.#parts.host + (this.#parts.port && `:${this.#parts.port}`); }
    set host(text) { setAuthority(this.#parts, `${text}`.replace(/[/\\?#@][^]*$/, "")); }
    get hostname() { return this.#parts.host; }
    set hostname(text) { this.#parts.host = hostOf(`${text}`, this.#parts.protocol in PORTS); }
    get port() { return this.#parts.port; }
    set port(text) { this.#parts.port = portOf(`${text}`, this.#parts.protocol); }
    get pathname() { return this.#parts.pathname; }
    set pathname(text) {
      this.#parts.pathname = pathOf(`${text}`.replace(/^[/\\]/, ""), this.#parts.protocol in PORTS, []);
    }
    get search() { return this.#parts.search; }
    set search(text) {
      const query = `${text}`.replace(/^\?/, "");
      this.#become({ ...this.#parts, search: query && `?${percent(query, IN_QUERY)}` });
    }
    get hash() { return this.#parts.hash; }
    set hash(text) {
      const fragment = `${text}`.replace(/^#/, "");
      this.#parts.hash = fragment && `#${percent(fragment, IN_FRAGMENT)}`;
    }
    get searchParams() { return this.#params; }
    #become(parts) {
      this.#parts = parts;
      fill.get(this.#params)(parts.search);
    }
    toString() { return this.href; }
    toJSON() { return this.href; }
  }

  const linked = new WeakMap(); // by the parameters of a URL: tells it that they changed
  const fill = new WeakMap(); // and tells them that it has

  function unescaped(text) {
    if (!text.includes("%")) return text;
    try {
      return decodeURIComponent(text);
    } catch { // bytes that are no UTF-8
      const bytes = utf8(text), found = [];
      for (let at = 0; at < bytes.length; at++) {
        const hex = bytes[at] === 0x25 && /^[0-9a-f]{2}$/i.test(String.fromCharCode(bytes[at + 1], bytes[at + 2]));
        found.push(hex ? parseInt(String.fromCharCode(bytes[++at], bytes[++at]), 16) : bytes[at]);
      }
      return fromUtf8(new Uint8Array(found));
    }
  }

  const formed = (text) => encodeURIComponent(`${text}`.toWellFormed()).replace(/%20|[!'()~]/g, (each) =>
    each === "%20" ? "+" : `%${each.charCodeAt(0).toString(16).toUpperCase()}`);

  function pairsOf(given) {
    if (typeof given === "object" && given !== null) {
      const pairs = typeof given[iterate] === "function" ? Array.from(given, (pair) => [...pair]) : Object.entries(given);
      if (pairs.some((pair) => pair.length !== 2)) throw new TypeError("each has a name and a value");
      return pairs.map(([name, value]) => [`${name}`, `${value}`]);
    }
    return `${given}`.replace(/^\?/, "").split("&").filter(Boolean).map((each) => {
      const [, name, value] = /^([^=]*)=?([^]*)$/.exec(each.replaceAll("+", " "));
      return [unescaped(name), unescaped(value)];
    });
  }

  class URLSearchParams {
    #pairs;
    constructor(given = "") {
      this.#pairs = pairsOf(given);
      fill.set(this, (text) => { this.#pairs = pairsOf(text); });
    }
    #changed() { linked.get(this)?.(this.toString()); }
    get size() { return this.#pairs.length; }
    append(name, value) {
      this.#pairs.push([`${name}`, `${value}`]);
      this.#changed();
    }
    delete(name, value) {
      this.#pairs = this.#pairs.filter((pair) => pair[0] !== `${name}` || (value !== undefined && pair[1] !== `${value}`));
      this.#changed();
    }
    get(name) { return this.#pairs.find((pair) => pair[0] === `${name}`)?.[1] ?? null; }
    getAll(name) { return this.#pairs.filter((pair) => pair[0] === `${name}`).map((pair) => pair[1]); }
    has(name, value) {
      return this.#pairs.some((pair) => pair[0] === `${name}` && (value === undefined || pair[1] === `${value}`));
    }
    set(name, value) {
      const first = this.#pairs.find((pair) => pair[0] === `${name}`);
      if (first === undefined) return this.append(name, value);
      first[1] = `${value}`;
      this.#pairs = this.#pairs.filter((pair) => pair === first || pair[0] !== first[0]);
      this.#changed();
    }
    sort() {
      this.#pairs.sort(([one], [other]) => one < other ? -1 : one > other ? 1 : 0);
      this.#changed();
    }
    forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }
    *entries() { for (const [name, value] of this.#pairs) yield [name, value]; }
    *keys() { for (const [name] of this.#pairs) yield name; }
    *values() { for (const [, value] of this.#pairs) yield value; }
    [iterate]() { return this.entries(); }
    toString() { return this.#pairs.map(([name, value]) => `${formed(name)}=${formed(value)}`).join("&"); }
  }

  // -- requests and responses --------------------------------------------------------------------------------------

  const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+$/i;

  class Headers {
    #fields = []; // name in lower case, value
    constructor(given) {
      if (given === undefined || given === null) return;
      const cookies = given instanceof Headers ? given.#fields : pairsOf(Object(given));
      for (const [name, value] of cookies) this.append(name, value);
    }
    static #name(name) {
      if (!TOKEN.test(name)) throw new TypeError(`${name} is no name of a header`);
      return `${name}`.toLowerCase();
    }
    append(name, value) {
      const text = `${value}`.replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
      if (/[\0\n\r]|[^\0-\xff]/.test(text)) throw new TypeError(`the header ${name} has what no header can have`);
      this.#fields.push([Headers.#name(name), text]);
    }
    delete(name) {
      const key = Headers.#name(name);
      this.#fields = this.#fields.filter((field) => field[0] !== key);
    }
    get(name) {
      const found = this.#all(Headers.#name(name));
      return found.length ? found.join(", ") : null;
    }
    #all(key) { return this.#fields.filter((field) => field[0] === key).map((field) => field[1]); }
    getSetCookie() { return this.#all("set-cookie"); }
    has(name) { return this.#all(Headers.#name(name)).length > 0; }
    set(name, value) {
      this.delete(name);
      this.append(name, value);
    }
    forEach(callback, self) { for (const [name, value] of this) callback.call(self, value, name, this); }
    *entries() {
      for (const name of [...new Set(this.#fields.map((field) => field[0]))].sort()) {
        if (name === "set-cookie") for (const value of this.getSetCookie()) yield [name, value];
        else yield [name, this.get(name)];
      }
    }
    *keys() { for (const [name] of this) yield name; }
    *values() { for (const [, value] of this) yield value; }
    [iterate]() { return this.entries(); }
  }

  // What a body is to others: they hand it on. It is no stream.
  class Content {
    constructor(bytes) { contents.set(this, bytes); }
  }
  const contents = new WeakMap();

  function contentOf(given) { // bytes, and what they are
    if (given === null || given === undefined) return [null, ""];
    if (given instanceof Content) return [contents.get(given), ""];
    if (ArrayBuffer.isView(given) || given instanceof ArrayBuffer) return [bytesOf(given).slice(), ""];
    if (given instanceof URLSearchParams) return [utf8(given), "application/x-www-form-urlencoded;charset=UTF-8"];
    if (typeof given === "object" && (given[Symbol.asyncIterator] || given[iterate])) {
      throw new TypeError("a body is a text or bytes; streams are not supported in dynamic workers");
    }
    return [utf8(given), "text/plain;charset=UTF-8"];
  }

  class Message {
    #bytes;
    #used = false;
    constructor(body, headers) {
      const [bytes, type] = contentOf(body);
      this.#bytes = bytes;
      define(this, "headers", new Headers(headers), true);
      if (type && !this.headers.has("content-type")) this.headers.set("content-type", type);
    }
    get body() { return this.#bytes === null ? null : new Content(this.#bytes); }
    get bodyUsed() { return this.#used; }
    async bytes() {
      if (this.#used) throw new TypeError("the body was read already");
      this.#used = this.#bytes !== null;
      return this.#bytes ?? new Uint8Array();
    }
    async arrayBuffer() { return (await this.bytes()).slice().buffer; }
    async text() { return fromUtf8(await this.bytes()).replace(/^\ufeff/, ""); }
    async json() { return JSON.parse(await this.text()); }
  }

  class Request extends Message {
    constructor(given, options = {}) {
      const other = given instanceof Request ? given : null;
      const method = `${options.method ?? other?.method ?? "GET"}`;
      if (!TOKEN.test(method)) throw new TypeError(`${method} is no method`);
      const body = options.body ?? other?.body ?? null;
      if (body !== null && /^(get|head)$/i.test(method)) throw new TypeError(`a request of ${method} has no body`);
      super(body, options.headers ?? other?.headers);
      define(this, "method", /^(delete|get|head|options|post|put)$/i.test(method) ? method.toUpperCase() : method, true);
      define(this, "url", other ? other.url : new URL(given).href, true);
      define(this, "redirect", options.redirect ?? other?.redirect ?? "follow", true);
    }
    clone() { return new Request(this); }
  }

  class Response extends Message {
    constructor(body = null, options = {}) {
      const status = Number(options.status ?? 200);
      if (!(status >= 200 && status <= 599) || status % 1) throw new RangeError("a status is 200 to 599");
      super(body, options.headers);
      define(this, "status", status, true);
      define(this, "statusText", `${options.statusText ?? ""}`, true);
      define(this, "ok", status < 300, true);
      define(this, "url", "", true);
      define(this, "redirected", false, true);
    }
    static json(value, options = {}) {
      const headers = new Headers(options.headers);
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
      return new Response(JSON.stringify(value), { ...options, headers });
    }
    static redirect(url, status = 302) {
      if (![301, 302, 303, 307, 308].includes(status)) throw new RangeError(`${status} is no status of a redirect`);
      return new Response(null, { status, headers: { location: new URL(url).href } });
    }
    clone() { return new Response(this.body, this); }
  }

  // `send` gets method, URL, fields and bytes, and resolves to status, fields and bytes.
  async function fetchBy(send, given, options) {
    const request = new Request(given, options);
    const [status, fields, bytes] = await send([request.method, request.url, [...request.headers], await request.bytes()]);
    if (request.redirect === "error" && [301, 302, 303, 307, 308].includes(status)) {
      throw new TypeError(`${request.url.slice(0, 200)} answers with a redirect`);
    }
    const answer = new Response(bytes, { status, headers: fields });
    define(answer, "url", request.url, true);
    return answer;
  }

  inner.web = { URL, URLSearchParams, Headers, Request, Response, fetchBy };
})();
