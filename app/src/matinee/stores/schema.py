"""The tables of the truth. A change which an older version could not read takes another version number."""

from matinee.stores import conversations, evaluations

SCHEMA_VERSION = 2
DEFAULT_COLLECTION = 1
SCHEMA = (
    """
    CREATE TABLE collections (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL COLLATE NOCASE,
        owner TEXT                      -- the person who alone sees it; NULL: everybody does
    )
    """,
    "CREATE UNIQUE INDEX collections_by_name ON collections (coalesce(owner, ''), name)",
    f"INSERT INTO collections VALUES ({DEFAULT_COLLECTION}, 'Documents', NULL)",
    """
    CREATE TABLE documents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        collection_id INTEGER NOT NULL REFERENCES collections (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL REFERENCES files (sha256),
        bytes INTEGER NOT NULL,         -- size of the file
        added TEXT NOT NULL,            -- ISO 8601, UTC
        kind TEXT NOT NULL,
        page_starts TEXT NOT NULL,      -- JSON list of offsets, empty where there are no pages
        page_names TEXT NOT NULL,       -- JSON list, empty where pages are only numbered
        notices TEXT NOT NULL,          -- JSON list of sentences
        tags TEXT NOT NULL DEFAULT '[]',
        passages INTEGER NOT NULL,      -- how many
        origin TEXT,                    -- where it came from, if not uploaded: a URL
        origin_mark TEXT,               -- what changes there when the document does
        text TEXT NOT NULL,
        UNIQUE (collection_id, name)
    )
    """,
    "CREATE INDEX documents_by_file ON documents (sha256)",
    "CREATE INDEX documents_by_size ON documents (collection_id, passages)",  # counted for each question
    "CREATE TABLE files (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL)",
    """
    CREATE TABLE passages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used twice: the vector index knows passages by it
        document_id INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
        start INTEGER NOT NULL,         -- text is documents.text[start:end], in characters
        end INTEGER NOT NULL,
        page INTEGER,
        last_page INTEGER,
        text TEXT NOT NULL
    )
    """,
    "CREATE INDEX passages_by_document ON passages (document_id)",
    """
    CREATE TABLE vectors (
        passage_id INTEGER NOT NULL REFERENCES passages (id) ON DELETE CASCADE,
        embedder TEXT NOT NULL,
        vector BLOB NOT NULL            -- float32, little-endian, length 1
    )
    """,
    "CREATE UNIQUE INDEX vectors_by_passage ON vectors (passage_id, embedder)",
    """
    CREATE VIRTUAL TABLE passages_text USING fts5 (
        text, content = 'passages', content_rowid = 'id', tokenize = 'porter unicode61'
    )
    """,
    """
    CREATE TRIGGER passages_added AFTER INSERT ON passages BEGIN
        INSERT INTO passages_text (rowid, text) VALUES (new.id, new.text);
    END
    """,
    """
    CREATE TRIGGER passages_removed AFTER DELETE ON passages BEGIN
        INSERT INTO passages_text (passages_text, rowid, text) VALUES ('delete', old.id, old.text);
    END
    """,
    # prebuilt indexes that have been taken in as a whole, as they were then
    "CREATE TABLE taken (origin TEXT PRIMARY KEY, mark TEXT)",
    # one number, which every change of what can be found makes another
    "CREATE TABLE version (number INTEGER NOT NULL)",
    "INSERT INTO version VALUES (0)",
    *conversations.SCHEMA,
    *evaluations.SCHEMA,
)
