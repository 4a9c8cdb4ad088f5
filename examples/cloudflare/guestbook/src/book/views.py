from django.http import Http404, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods
from pyodide.ffi import run_sync


@require_http_methods(["GET", "POST"])
def book(request):
    db = request.environ["workers.env"].DB
    if request.method == "POST":
        name, text = request.POST["name"].strip(), request.POST["text"].strip()
        if name and text:
            run_sync(db.prepare("INSERT INTO entries (name, text) VALUES (?, ?)").bind(name, text).run())
        return redirect("book")
    found = run_sync(db.prepare("SELECT name, text FROM entries ORDER BY id DESC LIMIT 50").all())
    return render(request, "book.html", {"entries": found.results})


@require_GET
def entry(request, number):
    db = request.environ["workers.env"].DB
    found = run_sync(db.prepare("SELECT * FROM entries WHERE id = ?").bind(number).first())
    if found is None:
        raise Http404
    return JsonResponse(found)
