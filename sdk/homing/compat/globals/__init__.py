"""JavaScript's globals that few applications use: `js` imports each when it is asked for.

Names and meanings are those of https://developers.cloudflare.com/workers/runtime-apis/web-standards/.
"""
