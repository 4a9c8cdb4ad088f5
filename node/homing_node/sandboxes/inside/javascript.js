// What code finds in its engine besides ECMAScript, and the way of its values in and out. Evaluated once, in the zygote,
// before there is any code: what it needs of the language it keeps here, where code that replaces it cannot reach.
//
// The host's functions come as globals with two underscores and are taken away again. Text crosses as JSON, which has
// no NUL and no half of a surrogate pair: a C string would end at the one, and Python refuse the other.
(() => {
  "use strict";
  const host = {};
  for (const name of ["write", "relax", "tighten", "random", "encode", "decode", "ask", "say", "resolve", "keep", "kept"]) {
    host[name] = globalThis[`__${name}`];
    delete globalThis[`__${name}`];
  }
  const {
    ArrayBuffer, BigInt, DataView, Date, Error, InternalError, JSON, Map, Math, Number, Object, Promise, RangeError,
    RegExp, Set, String, SyntaxError, TypeError, Uint8Array, Uint8ClampedArray, Uint32Array, performance,
  } = globalThis;
  const { parse, stringify } = JSON;
  const { defineProperty, getPrototypeOf, getOwnPropertyDescriptors, keys } = Object;
  const { isArray } = Array;
  const { isSafeInteger } = Number;
  const { isView } = ArrayBuffer;
  const indirectEval = eval;
  const now = () => performance.now();
  const plain = Object.prototype;
  const uncurried = (method) => Function.prototype.call.bind(method);
  const then = uncurried(Promise.prototype.then);
  const slice = uncurried(String.prototype.slice);
  const toHex = uncurried(Uint8Array.prototype.toHex);
  const setFromHex = uncurried(Uint8Array.prototype.setFromHex);
  const subarray = uncurried(Uint8Array.prototype.subarray);
  const join = uncurried(Array.prototype.join);
  const fromHex = Uint8Array.fromHex;
  const toDigits = uncurried(BigInt.prototype.toString);
  const has = uncurried(Set.prototype.has);
  const add = uncurried(Set.prototype.add);
  const remove = uncurried(Set.prototype.delete);
  const getAt = uncurried(Map.prototype.get);
  const setAt = uncurried(Map.prototype.set);
  const removeAt = uncurried(Map.prototype.delete);
  const getTime = uncurried(Date.prototype.getTime);
  const TypedArray = getPrototypeOf(Uint8Array);

  const define = (target, name, value, enumerable = false) =>
    defineProperty(target, name, { value, enumerable, writable: true, configurable: true });

  // -- values: JSON for what JSON has, and objects of one key for the rest (see javascript_values.py) -----------------

  class NoValue extends TypeError {}

  const KEPT = 16384, KEPT_PIECE = 65536; // longer bytes cross in pieces

  function encodeBytes(bytes) {
    if (bytes.length <= KEPT) return `{"b":"${toHex(bytes)}"}`;
    let number = 0;
    for (let at = 0; at < bytes.length; at += KEPT_PIECE) {
      number = host.keep(number, toHex(subarray(bytes, at, at + KEPT_PIECE)));
    }
    return `{"k":${number}}`;
  }

  function decodeKept([number, length]) {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += KEPT_PIECE) {
      setFromHex(subarray(bytes, at), host.kept(number, at, KEPT_PIECE));
    }
    host.kept(number, -1, 0);
    return bytes;
  }

  function bytesOf(value) {
    return isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : new Uint8Array(value);
  }

  function encodeNumber(value) {
    if (isSafeInteger(value)) return stringify(value);
    return `{"f":"${value}"}`;
  }

  function encodeList(values, within) {
    let text = "";
    for (let place = 0; place < values.length; place++) text += (place ? "," : "") + encode(values[place], within);
    return `[${text}]`;
  }

  function encodeObject(value, within) {
    const prototype = getPrototypeOf(value);
    if (prototype !== plain && prototype !== null) {
      throw new NoValue(`an object of class ${value.constructor?.name || "?"} is no value that can be sent`);
    }
    let text = "";
    for (const key of keys(value)) text += (text && ",") + stringify(key) + ":" + encode(value[key], within);
    return `{"o":{${text}}}`;
  }

  function encodeInside(value, within) {
    if (isArray(value)) return encodeList(value, within);
    if (value instanceof Uint8Array || value instanceof ArrayBuffer || value instanceof DataView ||
        value instanceof Uint8ClampedArray) return encodeBytes(bytesOf(value));
    if (value instanceof Date) return `{"d":${stringify(getTime(value))}}`;
    if (value instanceof Map) return `{"m":${encodeList([...value], within)}}`;
    if (value instanceof Set) return `{"s":${encodeList([...value], within)}}`;
    return encodeObject(value, within);
  }

  function encode(value, within) {
    switch (typeof value) {
      case "undefined": return "null";
      case "boolean": case "string": return stringify(value);
      case "number": return encodeNumber(value);
      case "bigint": return `{"i":"${toDigits(value, 16)}"}`;
      case "object": break;
      default: throw new NoValue(`a ${typeof value} is no value that can be sent`);
    }
    if (value === null) return "null";
    if (has(within, value)) throw new NoValue("the value contains itself");
    add(within, value);
    const text = encodeInside(value, within);
    remove(within, value);
    return text;
  }

  function decode(node) {
    if (isArray(node)) return node.map(decode);
    if (typeof node !== "object" || node === null) return node;
    if ("o" in node) {
      for (const key of keys(node.o)) node.o[key] = decode(node.o[key]);
      return node.o;
    }
    if ("m" in node) return new Map(node.m.map(decode));
    if ("s" in node) return new Set(node.s.map(decode));
    if ("b" in node) return fromHex(node.b);
    if ("k" in node) return decodeKept(node.k);
    if ("d" in node) return new Date(node.d);
    if ("i" in node) return node.i[0] === "-" ? -BigInt(`0x${slice(node.i, 1)}`) : BigInt(`0x${node.i}`);
    return Number(node.f);
  }

  // -- how values are shown ------------------------------------------------------------------------------------------

  const SHOWN_MOST = 100, SHOWN_DEEP = 3;

  function showObject(value, depth) {
    if (value instanceof Error) return describe(value)[2] || String(value);
    if (value instanceof Date) return isNaN(getTime(value)) ? "Invalid Date" : value.toISOString();
    if (value instanceof RegExp) return String(value);
    const name = getPrototypeOf(value) === null ? "[Object: null prototype]" : value.constructor?.name ?? "Object";
    if (value instanceof Promise) return "Promise {}";
    if (depth >= SHOWN_DEEP) return isArray(value) ? "[Array]" : `[${name}]`;
    const inner = (each) => show(each, depth + 1);
    const listed = (head, items, [open, close] = "[]") => {
      const shown = items.slice(0, SHOWN_MOST);
      if (items.length > SHOWN_MOST) shown.push(`... ${items.length - SHOWN_MOST} more`);
      return `${head && head + " "}${open}${shown.length ? ` ${shown.join(", ")} ` : ""}${close}`;
    };
    if (isArray(value)) return listed("", Array.from(value, inner));
    if (value instanceof Set) return listed(`Set(${value.size})`, Array.from(value, inner), "{}");
    if (value instanceof Map) {
      return listed(`Map(${value.size})`, Array.from(value, ([key, each]) => `${inner(key)} => ${inner(each)}`), "{}");
    }
    if (value instanceof TypedArray) return listed(`${name}(${value.length})`, Array.from(value, inner));
    if (value instanceof ArrayBuffer) return `ArrayBuffer { byteLength: ${value.byteLength} }`;
    const entries = Object.entries(getOwnPropertyDescriptors(value)).filter(([, each]) => each.enumerable);
    const texts = entries.map(([key, each]) => {
      const shown = /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(key) ? key : stringify(key);
      return `${shown}: ${"value" in each ? inner(each.value) : "[Getter/Setter]"}`;
    });
    return listed(name === "Object" ? "" : name, texts, "{}");
  }

  function show(value, depth = 0) {
    switch (typeof value) {
      case "string": return depth ? stringify(value) : value;
      case "bigint": return `${value}n`;
      case "symbol": return String(value);
      case "function": return `[${/^class\b/.test(String(value)) ? "class" : "Function"}: ${value.name || "(anonymous)"}]`;
      case "object": return value === null ? "null" : showObject(value, depth);
      default: return Object.is(value, -0) ? "-0" : String(value);
    }
  }

  const FORMATS = {
    s: (value) => show(value), d: (value) => show(Number(value)), i: (value) => show(parseInt(value)),
    f: (value) => show(parseFloat(value)), j: (value) => stringify(value), o: (value) => show(value, 1),
    O: (value) => show(value, 1), c: () => "",
  };

  function line(values) {
    let text = "";
    if (typeof values[0] === "string") {
      text = values.shift().replace(/%[sdifjoOc%]/g, (found) =>
        found === "%%" ? "%" : values.length ? FORMATS[found[1]](values.shift()) : found);
      if (values.length) text += " ";
    }
    return text + values.map((value) => show(value)).join(" ") + "\n";
  }

  const PIECE = 16384;

  function write(stream, text) {
    for (let from = 0; from < text.length;) {
      let to = from + PIECE;
      if (to < text.length && (text.charCodeAt(to - 1) & 0xfc00) === 0xd800) to++; // a pair stays together
      host.write(stream, stringify(slice(text, from, to)));
      from = to;
    }
  }

  const STREAMS = { log: 1, info: 1, debug: 1, dir: 1, table: 1, warn: 2, error: 2, trace: 2 };
  // What a run of one script does, and a worker of modules (javascript_worker.js) does otherwise.
  const ways = {
    print: (name, text) => write(STREAMS[name], text),
    place: (number) => `<sandbox>:${number - linesBefore}`,
    isOurs: () => false, // a frame in a line
    failed: (error) => fail(error, "raised"), // what nobody called
  };
  const console = {};
  for (const name of keys(STREAMS)) define(console, name, (...values) => ways.print(name, line(values)), true);
  define(console, "assert", (fine, ...values) => {
    if (!fine) ways.print("error", line(["Assertion failed:", ...values]));
  }, true);
  define(globalThis, "console", console);

  // -- an end --------------------------------------------------------------------------------------------------------

  let outcome = null;
  let linesBefore = 0; // of what the engine was given, that the code has not
  const MESSAGE_MOST = 4000, TRACE_MOST = 16000;

  // Frames of this file come last: whatever calls code is `eval`, or a function of the host's loop below.
  function framesOf(error) {
    const frames = String(error.stack ?? "").split("\n");
    const ours = frames.findIndex((frame) => /^ +at (eval \(native\)|__)/.test(frame));
    return (ours < 0 ? frames : frames.slice(0, ours)).filter((frame) => !ways.isOurs(/<input>:(\d+)/.exec(frame)?.[1]))
      .join("\n").trimEnd().replace(/<input>:(\d+)/g, (_, number) => ways.place(number));
  }

  function describe(error) {
    try {
      if (!(error instanceof Error)) return [typeof error, slice(show(error), 0, MESSAGE_MOST), ""];
      const name = slice(String(error.name), 0, 200), message = slice(String(error.message), 0, MESSAGE_MOST);
      return [name, message, slice(`${name}: ${message}\n${framesOf(error)}`.trimEnd(), 0, TRACE_MOST)];
    } catch {
      return ["Error", "its text cannot be had", ""];
    }
  }

  function parses(code) {
    try {
      indirectEval(`if(0){${code}\n}`);
      return true;
    } catch {
      return false;
    }
  }

  // Where there is none for an exception, null is thrown.
  function isMemory(error, full) {
    return error === null ? full : error instanceof InternalError && error.message === "out of memory";
  }

  function fail(error, cause) {
    if (outcome !== null) return;
    const memory = isMemory(error, host.relax()); // what follows needs memory, too
    const [type, message, trace] = describe(error);
    outcome = stringify(["failure", memory ? "memory" : cause, type, message, cause === "no-value" ? "" : trace]);
  }

  function finish(value) {
    if (outcome !== null) return;
    try {
      outcome = `["result",${encode(value, new Set())}]`;
    } catch (error) {
      fail(error instanceof RangeError ? new NoValue("the value is nested too deeply") : error, "no-value");
    }
  }

  // -- time and chance -----------------------------------------------------------------------------------------------

  const timers = new Map();
  let timerNumber = 0;
  let current = 0; // the call of a worker on whose behalf code runs: each timer and each answer goes on with its own

  function addTimer(callback, delay, values, every) {
    if (typeof callback !== "function") throw new TypeError("a timer calls a function");
    const wait = Math.min(Math.max(Number(delay) || 0, 0), 2 ** 31 - 1);
    timers.set(++timerNumber, { at: now() + wait, every: every ? Math.max(wait, 1) : -1, callback, values,
      call: current });
    return timerNumber;
  }

  define(globalThis, "setTimeout", (callback, delay, ...values) => addTimer(callback, delay, values, false));
  define(globalThis, "setInterval", (callback, delay, ...values) => addTimer(callback, delay, values, true));
  for (const name of ["clearTimeout", "clearInterval"]) define(globalThis, name, (number) => void timers.delete(number));

  function nextTimer() {
    let first = null;
    for (const each of timers) if (first === null || each[1].at < first[1].at) first = each;
    return first;
  }

  function setRandom(seed) { // sfc32: small and fast, and seeded anew for each run
    let [a, b, c, d] = new Uint32Array(seed.buffer, 0, 4);
    const next = () => {
      const sum = (((a + b) | 0) + d) | 0;
      d = (d + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = ((c << 21) | (c >>> 11)) + sum | 0;
      return sum >>> 0;
    };
    for (let round = 0; round < 12; round++) next();
    define(Math, "random", () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992);
  }

  const crypto = {};
  define(crypto, "getRandomValues", (view) => {
    if (!(view instanceof TypedArray)) throw new TypeError("random values go into a typed array");
    if (view.byteLength > 65536) throw new RangeError("at most 65536 random bytes at a time");
    bytesOf(view).set(fromHex(host.random(view.byteLength)));
    return view;
  }, true);
  define(crypto, "randomUUID", () => {
    const bytes = fromHex(host.random(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    return toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }, true);
  define(globalThis, "crypto", crypto);

  const utf8 = (text) => fromHex(host.encode(stringify(`${text}`.toWellFormed())));
  const fromUtf8 = (bytes) => parse(host.decode(toHex(bytes)));

  define(globalThis, "TextEncoder", class TextEncoder {
    get encoding() { return "utf-8"; }
    encode(text = "") { return utf8(text); }
  });
  define(globalThis, "TextDecoder", class TextDecoder {
    constructor(label = "utf-8") {
      if (!/^utf-?8$/i.test(label)) throw new RangeError(`the encoding ${label} is not supported`);
    }
    get encoding() { return "utf-8"; }
    decode(bytes = new Uint8Array()) { return fromUtf8(bytesOf(bytes)); }
  });

  // -- what is granted -----------------------------------------------------------------------------------------------

  const asked = new Map(); // those without an answer: number to [settle, refuse, call]

  function ask(place, operation, values) {
    return new Promise((settle, refuse) => {
      const number = host.ask(place, operation, `[${values.map((value) => encode(value, new Set())).join()}]`);
      setAt(asked, number, [settle, refuse, current]);
    });
  }

  class GrantError extends Error {
    constructor(name, code, message, errorType, retryAfter) {
      super(message);
      define(this, "name", name);
      define(this, "code", code);
      define(this, "errorType", errorType);
      define(this, "retryAfter", retryAfter);
    }
  }

  class Answer {
    #body;
    constructor([status, fields, body]) {
      this.#body = body;
      define(this, "status", status, true);
      define(this, "ok", status >= 200 && status < 300, true);
      const headers = new Map();
      for (const [name, value] of fields) {
        const key = name.toLowerCase();
        headers.set(key, headers.has(key) ? `${headers.get(key)}, ${value}` : value);
      }
      const get = (name) => headers.get(`${name}`.toLowerCase()) ?? null;
      define(this, "headers", { get, has: (name) => get(name) !== null, entries: () => headers.entries() }, true);
    }
    async bytes() { return this.#body; }
    async text() { return fromUtf8(this.#body); }
    async json() { return parse(await this.text()); }
  }

  async function fetchUnder(place, url, { method = "GET", headers = [], body = null } = {}) {
    const fields = isArray(headers) ? headers : Object.entries(headers);
    const bytes = body === null || isView(body) || body instanceof ArrayBuffer
      ? bytesOf(body ?? new ArrayBuffer()) : utf8(body);
    const texts = fields.map(([name, value]) => [`${name}`, `${value}`]);
    return new Answer(await ask(place, "fetch", [`${method}`.toUpperCase(), `${url}`, texts, bytes]));
  }

  const FILES_MOST = 1_000, FILES_BYTES_MOST = 4 << 20;

  function filesOf(tree, scratch) {
    const files = new Map(Object.entries(tree));
    const named = (name, message) => Object.assign(new Error(message), { name });
    const read = async (path) => {
      if (!files.has(path)) throw named("FileNotFoundError", `${path}`);
      return files.get(path);
    };
    const change = (path) => {
      if (!scratch) throw named("PermissionError", "these files may only be read");
      if (`${path}`.split("/").some((part) => ["", ".", ".."].includes(part))) {
        throw named("BadRequest", `'${path}' is no path of a file`);
      }
    };
    return {
      read,
      text: async (path) => fromUtf8(await read(path)),
      list: async (prefix = "") => [...files.keys()].filter((path) => path.startsWith(prefix)).sort(),
      write: async (path, data) => {
        change(path);
        const bytes = isView(data) || data instanceof ArrayBuffer ? bytesOf(data).slice() : utf8(data);
        let size = bytes.length;
        for (const [each, content] of files) if (each !== path) size += content.length;
        if (size > FILES_BYTES_MOST || files.size >= FILES_MOST && !files.has(path)) {
          throw named("TooLarge", `at most ${FILES_MOST} files, and ${FILES_BYTES_MOST} bytes in all of them`);
        }
        files.set(path, bytes);
      },
      delete: async (path) => {
        change(path);
        await read(path);
        files.delete(path);
      },
    };
  }

  // By the kind of a grant: its operations, and whether one takes options by name instead of arguments in order.
  const KINDS = {
    sql: (call) => ({ exec: (query, ...bindings) => call("exec", [query, ...bindings]) }),
    kv: (call) => ({
      get: (key) => call("get", [key]),
      list: async (options = {}) => new Map(await call("list", [], options)),
      put: (key, value) => call("put", [key, value]),
      delete: (key) => call("delete", [key]),
    }),
    files: (_, [node, scratch]) => filesOf(decode(node), scratch),
    stub: (call, operations) =>
      Object.fromEntries(operations.map((operation) => [operation, (...values) => call(operation, values)])),
  };

  function grantOf(place, kind, operations) {
    if (kind === "http") return { fetch: (url, options) => fetchUnder(place, url, options) };
    return KINDS[kind]((operation, values, options = {}) => ask(place, operation, [values, options]), operations);
  }

  function setEnv(offers) {
    if (!offers.length) return;
    const env = {};
    offers.forEach(([name, kind, operations], place) => define(env, name, grantOf(place, kind, operations), true));
    define(globalThis, "env", env, true);
  }

  // -- what the host's loop calls ------------------------------------------------------------------------------------

  globalThis.__begin = function __begin(text) {
    const { code, before, names, offers, random } = parse(text);
    linesBefore = before;
    setEnv(offers);
    setRandom(fromHex(random));
    let value;
    try {
      for (const [name, node] of names) define(globalThis, name, decode(node), true);
      value = indirectEval(code);
    } catch (error) {
      return fail(error, error instanceof SyntaxError && !parses(code) ? "syntax" : "raised");
    }
    if (value instanceof Promise) then(value, finish, (error) => fail(error, "raised"));
    else finish(value);
  };

  globalThis.__answer = (number, text) => {
    const waiting = getAt(asked, number);
    if (waiting === undefined) return;
    removeAt(asked, number);
    current = waiting[2];
    const { value, refusal } = parse(text);
    if (refusal === undefined) waiting[0](decode(value));
    else waiting[1](new GrantError(...refusal));
  };

  // Joined, since the bindings cannot read a long text that is still the tree of its parts.
  globalThis.__outcome = () => outcome === null ? null : join([outcome], "");

  globalThis.__due = () => { // milliseconds until a timer; below 0: there is none
    const first = nextTimer();
    return first === null ? -1 : Math.max(first[1].at - now(), 0);
  };

  globalThis.__fire = function __fire() {
    const [number, timer] = nextTimer();
    if (timer.every < 0) timers.delete(number);
    else timer.at = now() + timer.every;
    current = timer.call;
    try {
      timer.callback(...timer.values);
    } catch (error) {
      ways.failed(error);
    }
  };

  globalThis.__inner = {
    host, ways, encode, decode, describe, define, ask, bytesOf, utf8, fromUtf8,
    setRandom, grantOf,
    NoValue, GrantError, indirectEval, join, isMemory, call: () => current,
    beCall: (number) => { current = number; },
  };
})();
