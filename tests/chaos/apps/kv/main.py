"""An object that does to a namespace of keys what a test tells it to."""

from homing import BadRequest, DurableObject, HomingError


class Hand(DurableObject):
    """Every method of a namespace, by name."""

    async def do(self, method, *args, space="KEYS", **options):
        """The result, or the error's name."""
        try:
            return await getattr(getattr(self.env, space), method)(*args, **options)
        except BadRequest as error:
            return f"BadRequest: {error}"
        except (HomingError, ValueError) as error:
            return type(error).__name__

    async def large(self, size):
        """A value of so many bytes, there and back."""
        value = bytes(range(256)) * (size // 256)
        try:
            await self.env.KEYS.put("large", value)
        except HomingError as error:
            return type(error).__name__
        return await self.env.KEYS.get("large", "bytes") == value
