"""The content type of a file, by the end of its name.

Types are those that the reference's own tools give, which take them from the npm package `mime`; text is UTF-8. A file
of any other kind is served without a type.
"""

from __future__ import annotations

_TYPES = {
    "application/atom+xml": "atom",
    "application/epub+zip": "epub",
    "application/geo+json": "geojson",
    "application/gzip": "gz",
    "application/java-archive": "jar",
    "application/json": "json map",
    "application/json5": "json5",
    "application/ld+json": "jsonld",
    "application/manifest+json": "webmanifest",
    "application/msword": "doc dot",
    "application/node": "cjs",
    "application/octet-stream": "bin buffer deb dll dmg dump exe img iso msi pkg so",
    "application/ogg": "ogx",
    "application/pdf": "pdf",
    "application/pgp-keys": "asc",
    "application/pgp-signature": "sig",
    "application/postscript": "ai eps ps",
    "application/rdf+xml": "owl rdf",
    "application/rss+xml": "rss",
    "application/rtf": "rtf",
    "application/sql": "sql",
    "application/toml": "toml",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-fontobject": "eot",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/wasm": "wasm",
    "application/x-7z-compressed": "7z",
    "application/x-bzip2": "bz2",
    "application/x-sh": "sh",
    "application/x-tar": "tar",
    "application/xhtml+xml": "xht xhtml",
    "application/xml": "rng xml xsd xsl",
    "application/xml-dtd": "dtd",
    "application/zip": "zip",
    "audio/aac": "aac adts",
    "audio/midi": "mid midi",
    "audio/mp4": "m4a mp4a",
    "audio/mpeg": "mp2 mp3 mpga",
    "audio/ogg": "oga ogg opus spx",
    "audio/wav": "wav",
    "audio/webm": "weba",
    "audio/x-flac": "flac",
    "font/collection": "ttc",
    "font/otf": "otf",
    "font/ttf": "ttf",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "image/apng": "apng",
    "image/avif": "avif",
    "image/bmp": "bmp dib",
    "image/gif": "gif",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jpeg": "jfif jpe jpeg jpg",
    "image/png": "png",
    "image/svg+xml": "svg svgz",
    "image/tiff": "tif tiff",
    "image/vnd.microsoft.icon": "ico",
    "image/webp": "webp",
    "model/gltf+json": "gltf",
    "model/gltf-binary": "glb",
    "model/mtl": "mtl",
    "model/obj": "obj",
    "model/stl": "stl",
    "text/cache-manifest": "appcache manifest",
    "text/calendar": "ics ifb",
    "text/css": "css",
    "text/csv": "csv",
    "text/html": "htm html shtml",
    "text/javascript": "js mjs",
    "text/jsx": "jsx",
    "text/less": "less",
    "text/markdown": "markdown md",
    "text/mdx": "mdx",
    "text/plain": "conf def in ini list log text txt",
    "text/tab-separated-values": "tsv",
    "text/vcard": "vcard",
    "text/vtt": "vtt",
    "text/wgsl": "wgsl",
    "text/yaml": "yaml yml",
    "video/mp2t": "ts",
    "video/mp4": "mp4 mp4v mpg4",
    "video/mpeg": "mpe mpeg mpg",
    "video/ogg": "ogv",
    "video/quicktime": "mov qt",
    "video/webm": "webm",
    "video/x-matroska": "mkv",
    "video/x-msvideo": "avi",
}
_BY_END = {end: kind for kind, ends in _TYPES.items() for end in ends.split()}


def content_type(file: str) -> str | None:
    """The content type of a file; None: of no known kind.

    Example:
        >>> content_type("/app.js"), content_type("/logo.PNG"), content_type("/LICENSE")
        ('text/javascript; charset=utf-8', 'image/png', None)
    """
    name = file.rpartition("/")[2]
    kind = _BY_END.get(name.rpartition(".")[2].lower()) if "." in name else None
    return f"{kind}; charset=utf-8" if kind is not None and kind.startswith("text/") else kind
