"""Two kinds of objects and a page: a counter that keeps a value, and a guest book that keeps a table."""

from homing import DurableObject, Response, WorkerEntrypoint

NAME_CHARACTERS_MAX = 80
TEXT_CHARACTERS_MAX = 2_000
ENTRIES_MAX = 100


class Counter(DurableObject):
    """Counts. Each name is a counter of its own: `Counter/a`, `Counter/b`, …"""

    def increment(self, by: int = 1) -> int:
        value = self.read() + by
        self.ctx.storage.kv.put("value", value)
        return value

    def read(self) -> int:
        return self.ctx.storage.kv.get("value") or 0


class GuestBook(DurableObject):
    """A guest book: every object has an SQL database that nobody else sees."""

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.storage.sql.exec(
            "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY,"
            " name TEXT NOT NULL, text TEXT NOT NULL, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
        )

    def sign(self, name: str, text: str) -> int:
        """Add an entry and return its number."""
        if not 0 < len(name) <= NAME_CHARACTERS_MAX or not 0 < len(text) <= TEXT_CHARACTERS_MAX:
            raise ValueError(f"a name has 1 to {NAME_CHARACTERS_MAX} characters, a text 1 to {TEXT_CHARACTERS_MAX}")
        rows = self.ctx.storage.sql.exec("INSERT INTO entries (name, text) VALUES (?, ?) RETURNING id", name, text)
        return next(iter(rows))["id"]

    def entries(self, limit: int = 10) -> list:
        """The newest entries, the last one first."""
        rows = self.ctx.storage.sql.exec(
            "SELECT id, name, text, at FROM entries ORDER BY id DESC LIMIT ?", min(limit, ENTRIES_MAX)
        )
        return [dict(row) for row in rows]


class Default(WorkerEntrypoint):
    """What answers every path that is not the API's."""

    async def fetch(self, request):
        path = "/" + request.url.split("://", 1)[-1].partition("/")[2].partition("?")[0]
        if path != "/":
            return Response("there is nothing here", status=404)
        return Response(PAGE, headers={"content-type": "text/html; charset=utf-8"})


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>hello, homing</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 3rem auto; padding: 0 1rem }
  button, input { font: inherit; padding: .3rem .6rem }
  li span { color: #777 }
</style>
<h1>hello, homing</h1>
<p>Counter <code>a</code>: <b id="value">…</b> <button id="more">+1</button></p>
<h2>Guest book</h2>
<form id="sign">
  <input name="name" placeholder="your name" maxlength="80" required>
  <input name="text" placeholder="a line" maxlength="2000" required>
  <button>sign</button>
</form>
<ul id="entries"></ul>
<script>
  const $ = (id) => document.getElementById(id);
  async function call(object, method, ...args) {
    const answer = await fetch(`/_homing/v1/objects/${object}/rpc/${method}`, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ args }),
    });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.detail || body.title);
    return body.result;
  }
  async function show() {
    $("value").textContent = await call("Counter/a", "read");
    const entries = await call("GuestBook/main", "entries");
    $("entries").replaceChildren(...entries.map((entry) => {
      const item = document.createElement("li");
      const when = document.createElement("span");
      item.textContent = `${entry.name}: ${entry.text} `;
      when.textContent = entry.at;
      item.append(when);
      return item;
    }));
  }
  $("more").onclick = async () => { $("value").textContent = await call("Counter/a", "increment"); };
  $("sign").onsubmit = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    await call("GuestBook/main", "sign", form.get("name"), form.get("text"));
    event.target.reset();
    show();
  };
  show();
</script>
</html>
"""
