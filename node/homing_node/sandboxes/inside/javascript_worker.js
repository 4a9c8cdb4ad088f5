// A dynamic worker of JavaScript: its modules are linked and run, and its entrypoints called. What it says to the host
// is a kind, the number of the call, and JSON (javascript_worker.py). Evaluated once, in the zygote.
(() => {
  "use strict";
  const inner = globalThis.__inner;
  const { ask, decode, define, describe, encode, grantOf, host, indirectEval, join, ways, web } = inner;
  const { parse, stringify } = JSON;
  // Joined, since the bindings cannot read a long text that is still the tree of its parts.
  const say = (kind, number, ...parts) => host.say(kind, number, join([`[${parts.join()}]`], ""));
  const then = Function.prototype.call.bind(Promise.prototype.then);

  // -- what happened where: modules are one script, and have lines of their own in it ------------------------------

  let lines = []; // where each begins, how many they are, and its name
  let linesBefore = 0;

  function placeOf(number, within) {
    const [first, count, name] = within ?? lines.findLast(([first]) => first <= number) ?? lines[0];
    return `${name}:${Math.min(Math.max(number - first + 1, 1), count)}`;
  }

  const LEVELS = { debug: 10, trace: 10, log: 20, info: 20, dir: 20, table: 20, warn: 30, error: 40 };
  const LINE_MOST = 65536;

  const workerWays = {
    print: (name, text) => {
      const shown = text.slice(0, LINE_MOST).replace(/<input>:(\d+)/g, (found, number) =>
        number > linesBefore ? placeOf(Number(number)) : found);
      say("line", inner.call(), LEVELS[name], stringify(shown));
    },
    place: (number) => placeOf(Number(number)),
    isOurs: (number) => number !== undefined && number <= linesBefore,
    failed: (error) => lost(error),
  };

  function lost(error) { // what nobody waits for
    const [type, message, trace] = told(error);
    say("line", inner.call(), LEVELS.error, stringify(trace || `${type}: ${message}`));
  }

  // Frames of the host's own functions, and of the engine's that called them, are no news to whoever reads it.
  function told(error) {
    const [type, message, trace] = describe(error);
    return [type, message, trace.replace(/(\n +at [^\n]*\(native\))+$/, "")];
  }

  function fail(number, error, cause) {
    const full = host.relax(); // what follows needs memory, too
    try {
      const [type, message, trace] = told(error);
      const memory = inner.isMemory(error, full);
      const whole = /^(start:)?(raised|syntax)$/.test(cause); // else it is not the code's own
      say("fail", number, stringify(memory ? cause.replace("raised", "memory") : cause), stringify(whole ? type : ""),
        stringify(message), stringify(whole ? trace : ""));
    } finally {
      host.tighten();
    }
  }

  // -- modules -----------------------------------------------------------------------------------------------------

  const BUILT_IN = -1;
  let modules = [];
  let wrappers = null;
  const builtIn = { namespace: Object.create(null) };
  const at = (place) => place === BUILT_IN ? builtIn : modules[place];

  const bad = new WeakSet(); // errors of modules themselves, not of what they do

  function syntaxError(message, name, line, column) {
    const error = new SyntaxError(message);
    error.stack = `    at ${name}:${line}:${column}`;
    bad.add(error);
    return error;
  }

  function wrap(text) { // all are read at once; a parse that has failed says where
    for (const [place, module] of modules.entries()) {
      if (module.complaint) checkAlone(text, lines[place], module.complaint);
    }
    wrappers = parsed("\n".repeat(linesBefore) + text);
  }

  function checkAlone(text, within, complaint) {
    const [first, count] = within;
    const own = text.split("\n").slice(first - linesBefore - 2, first - linesBefore + count);
    parsed(`${"\n".repeat(first - 2)}(${own.join("\n").replace(/,$/, "")})`, within, complaint);
  }

  function parsed(text, within, complaint) {
    try {
      return indirectEval(text);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      if (complaint && /^unsupported keyword/.test(error.message)) { // an `import` in what went wrong before it
        throw syntaxError(complaint[0], within[2], complaint[1], complaint[2]);
      }
      const [, number, column] = /<input>:(\d+):(\d+)/.exec(error.stack) ?? [, linesBefore, 1];
      const [, name, line] = /^(.*):(\d+)$/.exec(placeOf(Number(number), within));
      throw syntaxError(error.message, name, line, column);
    }
  }

  function contentOf({ kind, content }) {
    if (kind === "json") return parse(content);
    return kind === "data" ? Uint8Array.fromHex(content).buffer : content;
  }

  function defaultOnly(module) {
    let value;
    let there = false;
    return () => {
      if (!there) [value, there] = [contentOf(module), true];
      return value;
    };
  }

  async function instantiate(module, place) {
    if (module.getters) return;
    module.getters = new Map(); // by name: what gives the value that it has at that time
    if (module.content !== undefined) {
      module.getters.set("default", defaultOnly(module));
      return;
    }
    const own = (specifier) => imported(module, specifier);
    let value, there = false;
    Object.defineProperty(own, "default", { set: (given) => {
      if (typeof given === "function" && Object.hasOwn(given, "name") && given.name === "") {
        Object.defineProperty(given, "name", { value: "default", configurable: true });
      }
      [value, there] = [given, true];
    } });
    own.meta = Object.assign(Object.create(null), { url: `file:///${module.name}` });
    module.getters.set("default", () => {
      if (!there) throw new ReferenceError("default is not initialized");
      return value;
    });
    module.scope = Object.create(null);
    const running = wrappers[place](own, module.scope);
    module.steps = Reflect.apply(running, undefined, []);
    const { value: [exported] } = await module.steps.next();
    for (const name of Object.keys(exported)) module.getters.set(name, () => exported[name]);
    if (!module.exports.includes("default")) module.getters.delete("default");
  }

  const AMBIGUOUS = Symbol("ambiguous");

  function getterOf(module, name, seen = new Set()) {
    if (module === builtIn) return Object.hasOwn(builtIn.namespace, name) ? () => builtIn.namespace[name] : undefined;
    const key = `${module.name} ${name}`;
    if (seen.has(key)) return undefined;
    seen.add(key);
    const own = module.getters.get(name);
    if (own) return own;
    for (const [as, place, there] of module.passedOn ?? []) {
      if (as !== name || as === "*") continue;
      const other = at(module.asks[place]);
      return there === "*" ? () => namespaceOf(other) : getterOf(other, there, seen);
    }
    if (name === "default") return undefined;
    const found = new Set();
    for (const [as, place] of module.passedOn ?? []) {
      const getter = as === "*" ? getterOf(at(module.asks[place]), name, seen) : undefined;
      if (getter) found.add(getter);
    }
    return found.size > 1 ? AMBIGUOUS : found.values().next().value;
  }

  function namesOf(module, seen = new Set()) {
    if (module === builtIn) return new Set(Object.keys(builtIn.namespace));
    const names = new Set();
    if (seen.has(module)) return names;
    seen.add(module);
    for (const name of module.getters.keys()) names.add(name);
    for (const [as, place] of module.passedOn ?? []) {
      if (as !== "*") names.add(as);
      else for (const name of namesOf(at(module.asks[place]), seen)) if (name !== "default") names.add(name);
    }
    return names;
  }

  function namespaceOf(module) {
    if (module.namespace) return module.namespace;
    const namespace = module.namespace = Object.create(null);
    for (const name of [...namesOf(module)].sort()) {
      const get = getterOf(module, name);
      if (typeof get === "function") Object.defineProperty(namespace, name, { get, enumerable: true });
    }
    Object.defineProperty(namespace, Symbol.toStringTag, { value: "Module" });
    return Object.preventExtensions(namespace);
  }

  function link(module) {
    if (module.linked || module === builtIn) return;
    module.linked = true;
    for (const [local, place, name] of module.imports ?? []) {
      const other = at(module.asks[place]);
      const get = name === "*" ? () => namespaceOf(other) : getterOf(other, name);
      if (typeof get === "function") {
        Object.defineProperty(module.scope, local, { get, enumerable: true });
      } else if (!module.loose) {
        const what = get === AMBIGUOUS ? "more than one" : "no";
        const message = `${other.name ?? "cloudflare:workers"} has ${what} export '${name}', which ${module.name} imports`;
        throw syntaxError(message, module.name, ...module.places[place]);
      }
    }
  }

  function inOrder(module, found = new Set(), order = []) {
    if (module === builtIn || found.has(module)) return order;
    found.add(module);
    for (const place of module.asks ?? []) inOrder(at(place), found, order);
    order.push(module);
    return order;
  }

  async function evaluate(module) {
    if (module.steps === undefined) return;
    const { done } = await module.steps.next();
    if (!done) throw syntaxError("it yields outside of a function", module.name, 1, 1);
  }

  async function load(module) {
    const order = inOrder(module);
    for (const each of order) await instantiate(each, modules.indexOf(each));
    for (const each of order) link(each);
    for (const each of order) {
      each.running ??= evaluate(each);
      await each.running;
    }
    return namespaceOf(module);
  }

  async function imported(from, specifier) {
    const place = parse(host.resolve(stringify([from.name, `${specifier}`.toWellFormed()])));
    if (place === null) throw new TypeError(`there is no module '${specifier}', which ${from.name} imports`);
    return load(at(place));
  }

  // -- entrypoints -------------------------------------------------------------------------------------------------

  class WorkerEntrypoint {
    constructor(ctx, env) {
      define(this, "ctx", ctx);
      define(this, "env", env);
    }
  }

  class RpcTarget {}

  let env = null;
  const calls = new Map(); // those in flight, by number: whether they have been given up

  function contextOf(props) {
    const ctx = {};
    define(ctx, "props", props, true);
    define(ctx, "waitUntil", (promise) => { then(Promise.resolve(promise), undefined, lost); });
    define(ctx, "passThroughOnException", () => {});
    return ctx;
  }

  class Missing extends Error {}
  class Misfit extends Error {}
  class TooLong extends Error {}
  const CAUSES = [[Missing, "not-found"], [Misfit, "misfit"], [TooLong, "result"], [inner.NoValue, "no-value"]];

  // An entrypoint is a class that extends WorkerEntrypoint, or an object, whose functions get `env` and `ctx`, too.
  function entrypoint(namespace, name, props) {
    const shown = name || "default";
    const found = shown in namespace ? namespace[shown] : undefined;
    const ctx = contextOf(props);
    if (typeof found === "function" && found.prototype instanceof WorkerEntrypoint) {
      const instance = new found(ctx, env);
      return (method) => {
        const value = isPublic(found.prototype, method) ? instance[method] : undefined;
        return typeof value === "function" ? value.bind(instance) : undefined;
      };
    }
    if (typeof found === "object" && found !== null) {
      return (method, isFetch) => {
        const value = method in Object.prototype ? undefined : found[method];
        if (typeof value !== "function") return undefined;
        return (...values) => {
          if (values.length > 1) throw new Misfit(`${method} of an object takes one argument; a class's take more`);
          return value.call(found, values[0], env, ctx);
        };
      };
    }
    throw new Missing(`${modules[0].name} has no entrypoint ${shown}`);
  }

  function isPublic(prototype, method) {
    for (let each = prototype; each && each !== WorkerEntrypoint.prototype; each = Object.getPrototypeOf(each)) {
      if (Object.hasOwn(each, method)) return method !== "constructor";
    }
    return false;
  }

  function called(target, { entrypoint: name, method, args }) {
    const found = target(method);
    if (found === undefined) throw new Missing(`${name || "default"} has no method ${method}`);
    return found(...args.map(decode));
  }

  async function fetched(target, { entrypoint: name, request, most }) {
    const found = target("fetch");
    if (found === undefined) throw new Missing(`${name || "default"} has no fetch handler`);
    const [method, url, headers, node] = request;
    const body = decode(node);
    const given = new web.Request(url, { method, headers, body: body.length ? body : null });
    const response = await found(given);
    if (!(response instanceof web.Response)) throw new TypeError("fetch must return a Response");
    const bytes = await response.bytes();
    if (bytes.length > most) throw new TooLong(`a body of ${bytes.length} bytes; at most ${most}`);
    return `${response.status},${stringify([...response.headers])},${encode(bytes, new Set())}`;
  }

  function valueText(value) {
    try {
      return encode(value, new Set());
    } catch (error) {
      throw error instanceof RangeError ? new inner.NoValue("the value is nested too deeply") : error;
    }
  }

  let loading = null;

  async function run(call) {
    const { number } = call;
    let namespace;
    try {
      loading ??= load(modules[0]); // the main one
      namespace = await loading;
    } catch (error) {
      return fail(number, error, `start:${bad.has(error) ? "syntax" : "raised"}`);
    }
    try {
      if (calls.get(number)) return; // it was given up
      inner.beCall(number);
      const target = entrypoint(namespace, call.entrypoint, decode(call.props));
      const text = call.method ? valueText(await called(target, call)) : await fetched(target, call);
      if (calls.get(number) === false) say(call.method ? "return" : "respond", number, text);
    } catch (error) {
      const [, cause] = CAUSES.find(([kind]) => error instanceof kind) ?? [, "raised"];
      if (calls.get(number) === false) fail(number, error, cause);
    } finally {
      calls.delete(number);
    }
  }

  // -- what the host's loop calls ----------------------------------------------------------------------------------

  function setEnv(values, offers, outbound) {
    env = decode(values);
    offers.forEach(([name, kind, operations], place) => {
      if (name === outbound) setFetch(kind, place);
      else env[name] = kind === "http" ? { fetch: by(kind, place) } : grantOf(place, kind, operations);
    });
  }

  const by = (kind, place) => (given, options) =>
    web.fetchBy((parts) => ask(place, "fetch", kind === "http" ? parts : [parts, {}]), given, options);

  function setFetch(kind, place) { define(globalThis, "fetch", by(kind, place)); }

  async function noFetch(given, options) {
    const { url } = new web.Request(given, options);
    const message = `this worker may send no requests: it has no global_outbound (${url.slice(0, 200)})`;
    throw new inner.GrantError("Forbidden", "forbidden", message, "", null);
  }

  globalThis.__load = function __load(text) {
    const given = parse(text);
    Object.assign(ways, workerWays);
    for (const name of ["URL", "URLSearchParams", "Headers", "Request", "Response"]) define(globalThis, name, web[name]);
    define(globalThis, "fetch", noFetch);
    inner.setRandom(Uint8Array.fromHex(given.random));
    setEnv(given.env, given.offers, given.outbound);
    Object.assign(builtIn.namespace, { RpcTarget, WorkerEntrypoint, env, waitUntil: contextOf().waitUntil });
    ({ lines, linesBefore, modules } = given);
    try {
      wrap(given.script);
    } catch (error) {
      loading = Promise.reject(error);
      then(loading, undefined, () => {});
    }
  };

  globalThis.__call = function __call(text) {
    const call = parse(text);
    calls.set(call.number, false);
    inner.beCall(call.number);
    run(call);
  };

  // Nobody waits for it. What it has begun goes on: others may wait for that, as for what a module keeps for all calls.
  globalThis.__cancel = function __cancel(number) {
    if (!calls.has(number)) return;
    calls.set(number, true);
    say("fail", number, `"cancelled"`, `"CancelledError"`, `""`, `""`);
  };
})();
