-- The ledger: what is acknowledged, in one file (WAL, synchronous=FULL).  `current` in the folders is derived from it.
-- This is the newest schema, for a new ledger; ledger_migrations.py leads every older one here.  New columns stand last.
-- Times in text are the wall clock's, to be shown; seconds (`_s`) are those of the `clock` below, to be reckoned with.

PRAGMA user_version = 4;

CREATE TABLE clock (                        -- one row: how long finetuned has lived here, restarts and suspends included
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    lived_s     REAL NOT NULL,
    wall_s      REAL NOT NULL,              -- what the wall clock said then, seconds since 1970
    synchronised INTEGER NOT NULL           -- 1: and it could be believed
) STRICT;

CREATE TABLE models (
    name        TEXT PRIMARY KEY,
    digest      TEXT NOT NULL,              -- SHA-256 of models/<name>/base.mlmodel
    info        TEXT NOT NULL,              -- ModelInfo as JSON: what a worker told of it, once
    added_at    TEXT NOT NULL
) STRICT;

CREATE TABLE samples (
    id          INTEGER PRIMARY KEY,        -- in the order of acceptance
    model       TEXT NOT NULL REFERENCES models (name),
    user        TEXT NOT NULL DEFAULT '',
    digest      TEXT NOT NULL,              -- SHA-256 of the file's content
    label       TEXT NOT NULL,              -- the model's label, after mapping
    name        TEXT NOT NULL,              -- the original file name
    path        TEXT NOT NULL,              -- below the state folder
    bytes       INTEGER NOT NULL,
    held_out    INTEGER NOT NULL,           -- 1: validates, never trained on
    source      TEXT NOT NULL,              -- path in the inbox, inode and mtime: tells our own leftovers after a crash
    accepted_at TEXT NOT NULL,
    task        TEXT REFERENCES tasks (id), -- the last task that saw it; NULL: new
    accepted_s  REAL NOT NULL DEFAULT 0,
    seen        INTEGER NOT NULL DEFAULT 0, -- 1: a task has taken it once, so `held_out` is settled
    UNIQUE (model, user, digest)
) STRICT;
CREATE INDEX samples_new ON samples (model, user) WHERE task IS NULL;

CREATE TABLE tasks (
    id          TEXT PRIMARY KEY,           -- sorts by time of creation
    model       TEXT NOT NULL REFERENCES models (name),
    user        TEXT NOT NULL DEFAULT '',
    state       TEXT NOT NULL CHECK (state IN ('suspended', 'running', 'cancelling', 'completed', 'failed')),
    reasons     TEXT NOT NULL DEFAULT '[]', -- JSON array: why it is suspended
    attempt     INTEGER NOT NULL DEFAULT 0,
    parameters  TEXT NOT NULL DEFAULT '{}', -- JSON: what was asked for
    seed        INTEGER NOT NULL,           -- drawn once, so that every attempt shuffles alike
    parent      INTEGER NOT NULL DEFAULT 0, -- the version that it starts from; 0: the base
    created_at  TEXT NOT NULL,
    started_at  TEXT,
    ended_at    TEXT,
    version     INTEGER,                    -- what it saved
    error       TEXT NOT NULL DEFAULT '',
    fault       TEXT NOT NULL DEFAULT '',   -- who is to blame for a failed one, as errors.py has it
    held        INTEGER NOT NULL DEFAULT 0, -- 1: a person holds it, until a person lets it go on
    paused      INTEGER NOT NULL DEFAULT 0, -- 1: the last that was told of its pace is that it is paused
    losses      INTEGER NOT NULL DEFAULT 0, -- how many of its workers were lost
    turn        INTEGER NOT NULL DEFAULT 0, -- when its last attempt began, counted over all tasks; 0: never
    adjustments TEXT NOT NULL DEFAULT '[]', -- JSON: learning rates asked for on the way, as TaskSpec has them
    created_s   REAL NOT NULL DEFAULT 0,
    started_s   REAL,
    ended_s     REAL
) STRICT;
CREATE UNIQUE INDEX tasks_one_alive ON tasks (model, user) WHERE state IN ('suspended', 'running', 'cancelling');

CREATE TABLE task_samples (                 -- the exact set that a task trains and validates on
    task        TEXT NOT NULL REFERENCES tasks (id),
    sample      INTEGER NOT NULL REFERENCES samples (id),
    label       TEXT NOT NULL,              -- as it was when the task was made: a relabel is the next task's
    PRIMARY KEY (task, sample)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (                  -- those that the living tasks may go on from
    task        TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    step        INTEGER NOT NULL,           -- mini-batches behind it
    path        TEXT NOT NULL,              -- below the task's folder
    sha256      TEXT NOT NULL,
    PRIMARY KEY (task, attempt, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    model       TEXT NOT NULL REFERENCES models (name),
    user        TEXT NOT NULL DEFAULT '',
    version     INTEGER NOT NULL,
    parent      INTEGER NOT NULL,           -- 0: the base
    task        TEXT NOT NULL REFERENCES tasks (id),
    sha256      TEXT NOT NULL,
    card        TEXT NOT NULL,              -- card.json
    saved_at    TEXT NOT NULL,
    dropped     INTEGER NOT NULL DEFAULT 0, -- 1: its folder is being removed; no longer listed
    PRIMARY KEY (model, user, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE current (                      -- no row: the base
    model       TEXT NOT NULL,
    user        TEXT NOT NULL DEFAULT '',
    version     INTEGER NOT NULL,
    previous    INTEGER,                    -- what was in use before it; 0: the base; NULL: not known, its parent counts
    PRIMARY KEY (model, user),
    FOREIGN KEY (model, user, version) REFERENCES versions (model, user, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE outcomes (                     -- AUTOINCREMENT: an id is never used twice
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    type        TEXT NOT NULL,
    ts          TEXT NOT NULL,
    payload     TEXT NOT NULL               -- JSON, without the id
) STRICT;

CREATE TABLE sinks (                        -- how far each sink has acknowledged
    name        TEXT PRIMARY KEY,
    outcome     INTEGER NOT NULL
) STRICT;

CREATE TABLE transactions (                 -- requests that were begun
    id          TEXT PRIMARY KEY,
    verb        TEXT NOT NULL,
    response    TEXT NOT NULL,              -- what was answered; '': not yet
    at          TEXT NOT NULL
) STRICT;

CREATE TABLE forgotten (                    -- what a person had forgotten: its rows are gone, its files may still be there
    id          INTEGER PRIMARY KEY,
    model       TEXT NOT NULL,
    user        TEXT NOT NULL,
    label       TEXT NOT NULL,
    sample      TEXT NOT NULL,
    samples     INTEGER NOT NULL,           -- how many rows are gone, to be told
    versions    INTEGER NOT NULL,
    paths       TEXT NOT NULL               -- JSON array: what is to be removed below the state folder
) STRICT;

CREATE TABLE residue (                      -- a row: what is forgotten may be read in this file until it is written anew
    id          INTEGER PRIMARY KEY CHECK (id = 1)
) STRICT;

CREATE TABLE mode (                         -- at most one row: what a person asked for last, by request
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    mode        TEXT NOT NULL,              -- auto, always or never
    for_s       REAL,                       -- for how long it was asked for; NULL: until it is changed
    until_s     REAL,                       -- the lived seconds at which it falls back to auto
    configured  TEXT NOT NULL               -- what the configuration said then: once that has changed, it counts
) STRICT;
