"""An object that does to a database what a test tells it to."""

from homing import DurableObject, HomingError


class Hand(DurableObject):
    """Statements, by their text and values."""

    async def do(self, method, query, *values, **options):
        """What a bound statement gives, or the error."""
        try:
            statement = self.env.DB.prepare(query)
            statement = statement.bind(*values) if values else statement
            return await getattr(statement, method)(**options)
        except (HomingError, TypeError) as error:
            return f"{type(error).__name__}: {error}"

    async def batch(self, *statements):
        """The results of several, all or none."""
        db = self.env.DB
        try:
            return await db.batch([db.prepare(query).bind(*values) for query, *values in statements])
        except HomingError as error:
            return f"{type(error).__name__}: {error}"

    async def script(self, script):
        """What `exec` gives."""
        try:
            return await self.env.DB.exec(script)
        except HomingError as error:
            return f"{type(error).__name__}: {error}"
