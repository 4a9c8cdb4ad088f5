"""A guest book: Django over WSGI, its entries in a D1 database."""

import os

from django.core.wsgi import get_wsgi_application
from workers import WorkerEntrypoint, wsgi

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "book.settings")
application = get_wsgi_application()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await wsgi.fetch(application, request, self.env)
