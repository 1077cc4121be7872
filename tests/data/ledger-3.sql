-- A ledger of schema 3, as a finetuned before 0.2.0 left it in the middle of its work.
PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE checkpoints (                  -- those that the living tasks may go on from
    task        TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    step        INTEGER NOT NULL,           -- mini-batches behind it
    path        TEXT NOT NULL,              -- below the task's folder
    sha256      TEXT NOT NULL,
    PRIMARY KEY (task, attempt, step)
) STRICT, WITHOUT ROWID;
INSERT INTO "checkpoints" VALUES('00000000060000000000000000',1,40,'1/checkpoint.40','cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc');
CREATE TABLE clock (                        -- one row: how long finetuned has lived here, restarts and suspends included
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    lived_s     REAL NOT NULL,
    wall_s      REAL NOT NULL,              -- what the wall clock said then, seconds since 1970
    synchronised INTEGER NOT NULL           -- 1: and it could be believed
) STRICT;
INSERT INTO "clock" VALUES(1,86400.5,1800086400.5,1);
CREATE TABLE current (                      -- no row: the base
    model       TEXT NOT NULL,
    user        TEXT NOT NULL DEFAULT '',
    version     INTEGER NOT NULL,
    PRIMARY KEY (model, user),
    FOREIGN KEY (model, user, version) REFERENCES versions (model, user, version)
) STRICT, WITHOUT ROWID;
INSERT INTO "current" VALUES('gestures','',1);
CREATE TABLE mode (                         -- at most one row: what a person asked for last, by request
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    mode        TEXT NOT NULL,              -- auto, always or never
    for_s       REAL,                       -- for how long it was asked for; NULL: until it is changed
    until_s     REAL,                       -- the lived seconds at which it falls back to auto
    configured  TEXT NOT NULL               -- what the configuration said then: once that has changed, it counts
) STRICT;
INSERT INTO "mode" VALUES(1,'never',3600.0,90000.5,'auto');
CREATE TABLE models (
    name        TEXT PRIMARY KEY,
    digest      TEXT NOT NULL,              -- SHA-256 of models/<name>/base.mlmodel
    info        TEXT NOT NULL,              -- ModelInfo as JSON: what a worker told of it, once
    added_at    TEXT NOT NULL
) STRICT;
INSERT INTO "models" VALUES('gestures','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','{"updatable":true,"kind":"neuralNetworkClassifier","specificationVersion":4,"reasons":[],"inputs":[],"outputs":[],"trainingInputs":[],"layers":[],"losses":[],"optimizer":"","parameters":{},"classLabels":["✊","✋"],"metadata":{},"sampleInputs":[],"target":""}','2027-01-15T08:00:00.000Z');
INSERT INTO "models" VALUES('digits','bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb','{"updatable":true,"kind":"neuralNetworkClassifier","specificationVersion":4,"reasons":[],"inputs":[],"outputs":[],"trainingInputs":[],"layers":[],"losses":[],"optimizer":"","parameters":{},"classLabels":["✊","✋"],"metadata":{},"sampleInputs":[],"target":""}','2027-01-15T08:00:00.000Z');
CREATE TABLE outcomes (                     -- AUTOINCREMENT: an id is never used twice
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    type        TEXT NOT NULL,
    ts          TEXT NOT NULL,
    payload     TEXT NOT NULL               -- JSON, without the id
) STRICT;
INSERT INTO "outcomes" VALUES(1,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"1.jpg"}');
INSERT INTO "outcomes" VALUES(2,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"2.jpg"}');
INSERT INTO "outcomes" VALUES(3,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"3.jpg"}');
INSERT INTO "outcomes" VALUES(4,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"1.jpg"}');
INSERT INTO "outcomes" VALUES(5,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"2.jpg"}');
INSERT INTO "outcomes" VALUES(6,'modelSaved','2027-01-15T08:00:20.000Z','{"type":"modelSaved","ts":"2027-01-15T08:00:20.000Z","node":"pi-3fa2","model":"gestures","task":"00000000010000000000000000","version":1,"parent":0,"sha256":"5555555555555555555555555555555555555555555555555555555555555555"}');
INSERT INTO "outcomes" VALUES(7,'promoted','2027-01-15T08:00:20.000Z','{"type":"promoted","ts":"2027-01-15T08:00:20.000Z","node":"pi-3fa2","model":"gestures","version":1,"parent":0}');
INSERT INTO "outcomes" VALUES(8,'completed','2027-01-15T08:01:40.000Z','{"type":"completed","ts":"2027-01-15T08:01:40.000Z","node":"pi-3fa2","model":"gestures","task":"00000000010000000000000000","version":1,"parent":0,"samples":10,"before":{"samples":3,"lossValue":0.5,"accuracy":0.8},"after":{"samples":3,"lossValue":0.5,"accuracy":0.8},"promotion":"promoted","promotionReason":"better on 3 held-out samples","durationSeconds":4.2}');
INSERT INTO "outcomes" VALUES(9,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"4.jpg"}');
INSERT INTO "outcomes" VALUES(10,'failed','2027-01-15T08:01:40.000Z','{"type":"failed","ts":"2027-01-15T08:01:40.000Z","node":"pi-3fa2","model":"gestures","task":"00000000020000000000000000","fault":"model","error":"it diverged"}');
INSERT INTO "outcomes" VALUES(11,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"2.jpg"}');
INSERT INTO "outcomes" VALUES(12,'completed','2027-01-15T08:01:40.000Z','{"type":"completed","ts":"2027-01-15T08:01:40.000Z","node":"pi-3fa2","model":"gestures","task":"00000000030000000000000000","version":2,"parent":1,"samples":10,"before":{"samples":3,"lossValue":0.5,"accuracy":0.8},"after":{"samples":3,"lossValue":0.5,"accuracy":0.8},"promotion":"promoted","promotionReason":"better on 3 held-out samples","durationSeconds":4.2}');
INSERT INTO "outcomes" VALUES(13,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"5.jpg"}');
INSERT INTO "outcomes" VALUES(14,'paused','2027-01-15T08:00:50.000Z','{"type":"paused","ts":"2027-01-15T08:00:50.000Z","node":"pi-3fa2","model":"gestures","task":"00000000040000000000000000","pace":"paused","duty":0.0,"reasons":["user"]}');
INSERT INTO "outcomes" VALUES(15,'cancelled','2027-01-15T08:01:40.000Z','{"type":"cancelled","ts":"2027-01-15T08:01:40.000Z","node":"pi-3fa2","model":"gestures","task":"00000000050000000000000000"}');
INSERT INTO "outcomes" VALUES(16,'paused','2027-01-15T08:00:50.000Z','{"type":"paused","ts":"2027-01-15T08:00:50.000Z","node":"pi-3fa2","model":"gestures","user":"anna","task":"00000000060000000000000000","pace":"paused","duty":0.0,"reasons":["thermal"],"reading":90.0,"trip":85.0}');
INSERT INTO "outcomes" VALUES(17,'resumed','2027-01-15T08:00:50.000Z','{"type":"resumed","ts":"2027-01-15T08:00:50.000Z","node":"pi-3fa2","model":"gestures","user":"anna","task":"00000000060000000000000000","pace":"full","duty":1.0}');
INSERT INTO "outcomes" VALUES(18,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"6.jpg"}');
INSERT INTO "outcomes" VALUES(19,'sampleAccepted','2027-01-15T08:00:01.000Z','{"type":"sampleAccepted","ts":"2027-01-15T08:00:01.000Z","node":"pi-3fa2","model":"gestures","label":"✊","name":"7.jpg"}');
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
INSERT INTO "samples" VALUES(1,'gestures','','0000000000000000000000000000000000000000000000000000000000000001','✊','1.jpg','models/gestures/_/samples/✊/1.jpg',1000,0,'gestures/rock/1.jpg:1:0','2027-01-15T08:00:01.000Z','00000000040000000000000000',0.0,1);
INSERT INTO "samples" VALUES(2,'gestures','','0000000000000000000000000000000000000000000000000000000000000002','✋','2.jpg','models/gestures/_/samples/✋/2.jpg',1000,1,'gestures/paper/2.jpg:2:0','2027-01-15T08:00:02.000Z','00000000040000000000000000',0.0,1);
INSERT INTO "samples" VALUES(3,'gestures','','0000000000000000000000000000000000000000000000000000000000000003','✊','3.jpg','models/gestures/_/samples/✊/3.jpg',1000,0,'gestures/rock/3.jpg:3:0','2027-01-15T08:00:03.000Z','00000000040000000000000000',0.0,1);
INSERT INTO "samples" VALUES(4,'gestures','anna','0000000000000000000000000000000000000000000000000000000000000001','✊','1.jpg','models/gestures/anna/samples/✊/1.jpg',1000,0,'gestures/rock/1.jpg:1:0','2027-01-15T08:00:01.000Z','00000000060000000000000000',0.0,1);
INSERT INTO "samples" VALUES(5,'gestures','anna','0000000000000000000000000000000000000000000000000000000000000002','✊','2.jpg','models/gestures/anna/samples/✊/2.jpg',1000,0,'gestures/rock/2.jpg:2:0','2027-01-15T08:00:02.000Z','00000000060000000000000000',0.0,1);
INSERT INTO "samples" VALUES(6,'gestures','','0000000000000000000000000000000000000000000000000000000000000004','✊','4.jpg','models/gestures/_/samples/✊/4.jpg',1000,0,'gestures/rock/4.jpg:4:0','2027-01-15T08:00:04.000Z','00000000040000000000000000',0.0,1);
INSERT INTO "samples" VALUES(7,'gestures','','0000000000000000000000000000000000000000000000000000000000000005','✊','5.jpg','models/gestures/_/samples/✊/5.jpg',1000,0,'gestures/rock/5.jpg:5:0','2027-01-15T08:00:05.000Z','00000000040000000000000000',0.0,1);
INSERT INTO "samples" VALUES(8,'gestures','','0000000000000000000000000000000000000000000000000000000000000006','✊','6.jpg','models/gestures/_/samples/✊/6.jpg',1000,0,'gestures/rock/6.jpg:6:0','2027-01-15T08:00:06.000Z',NULL,86050.0,0);
INSERT INTO "samples" VALUES(9,'gestures','bob','0000000000000000000000000000000000000000000000000000000000000007','✊','7.jpg','models/gestures/bob/samples/✊/7.jpg',1000,0,'gestures/rock/7.jpg:7:0','2027-01-15T08:00:07.000Z',NULL,86050.0,0);
CREATE TABLE sinks (                        -- how far each sink has acknowledged
    name        TEXT PRIMARY KEY,
    outcome     INTEGER NOT NULL
) STRICT;
INSERT INTO "sinks" VALUES('mqtt',9);
CREATE TABLE task_samples (                 -- the exact set that a task trains and validates on
    task        TEXT NOT NULL REFERENCES tasks (id),
    sample      INTEGER NOT NULL REFERENCES samples (id),
    label       TEXT NOT NULL,              -- as it was when the task was made: a relabel is the next task's
    PRIMARY KEY (task, sample)
) STRICT, WITHOUT ROWID;
INSERT INTO "task_samples" VALUES('00000000010000000000000000',1,'✊');
INSERT INTO "task_samples" VALUES('00000000010000000000000000',2,'✊');
INSERT INTO "task_samples" VALUES('00000000010000000000000000',3,'✊');
INSERT INTO "task_samples" VALUES('00000000030000000000000000',1,'✊');
INSERT INTO "task_samples" VALUES('00000000030000000000000000',2,'✋');
INSERT INTO "task_samples" VALUES('00000000030000000000000000',3,'✊');
INSERT INTO "task_samples" VALUES('00000000030000000000000000',6,'✊');
INSERT INTO "task_samples" VALUES('00000000040000000000000000',1,'✊');
INSERT INTO "task_samples" VALUES('00000000040000000000000000',2,'✋');
INSERT INTO "task_samples" VALUES('00000000040000000000000000',3,'✊');
INSERT INTO "task_samples" VALUES('00000000040000000000000000',6,'✊');
INSERT INTO "task_samples" VALUES('00000000040000000000000000',7,'✊');
INSERT INTO "task_samples" VALUES('00000000060000000000000000',4,'✊');
INSERT INTO "task_samples" VALUES('00000000060000000000000000',5,'✊');
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
INSERT INTO "tasks" VALUES('00000000010000000000000000','gestures','','completed','[]',1,'{"learningRate": 0.05, "epochs": 3}',7,0,'2027-01-15T08:00:01.000Z','2027-01-15T08:00:10.000Z','2027-01-15T08:00:20.000Z',1,'','',0,0,0,0,'[]',0.0,NULL,NULL);
INSERT INTO "tasks" VALUES('00000000020000000000000000','gestures','','failed','[]',2,'{}',7,1,'2027-01-15T08:00:02.000Z','2027-01-15T08:00:30.000Z','2027-01-15T08:00:33.000Z',NULL,'it diverged','',0,0,0,0,'[]',0.0,NULL,NULL);
INSERT INTO "tasks" VALUES('00000000030000000000000000','gestures','','completed','[]',1,'{}',7,1,'2027-01-15T08:00:03.000Z','2027-01-15T08:00:40.000Z','2027-01-15T08:00:45.000Z',2,'','',0,0,0,0,'[]',0.0,NULL,NULL);
INSERT INTO "tasks" VALUES('00000000040000000000000000','gestures','','suspended','["queued", "user"]',0,'{}',7,1,'2027-01-15T08:00:04.000Z',NULL,NULL,NULL,'','',1,1,0,0,'[]',0.0,NULL,NULL);
INSERT INTO "tasks" VALUES('00000000050000000000000000','gestures','anna','failed','[]',0,'{}',7,0,'2027-01-15T08:00:05.000Z',NULL,'2027-01-15T08:00:51.000Z',NULL,'cancelled','',0,0,0,0,'[]',0.0,NULL,NULL);
INSERT INTO "tasks" VALUES('00000000060000000000000000','gestures','anna','running','[]',1,'{}',7,0,'2027-01-15T08:00:06.000Z','2027-01-15T08:00:52.000Z',NULL,NULL,'','',0,0,0,4,'[{"step": 12, "learningRate": 0.01}]',86000.0,86100.0,NULL);
CREATE TABLE transactions (                 -- requests already answered
    id          TEXT PRIMARY KEY,
    verb        TEXT NOT NULL,
    response    TEXT NOT NULL,
    at          TEXT NOT NULL
) STRICT;
INSERT INTO "transactions" VALUES('a1b2','train','{"status": "ok"}','2027-01-15T08:01:00.000Z');
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
INSERT INTO "versions" VALUES('gestures','',1,0,'00000000010000000000000000','5555555555555555555555555555555555555555555555555555555555555555','{"model": "gestures", "user": "", "version": 1, "parent": 0, "task": "00000000010000000000000000", "base": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "sha256": "5555555555555555555555555555555555555555555555555555555555555555", "savedAt": "2027-01-15T08:01:40.000Z", "parameters": {"learningRate": 0.05, "epochs": 3, "seed": 7}, "samples": {"✊": 3}, "heldOut": 1, "before": {"samples": 3, "lossValue": 0.5, "accuracy": 0.8}, "after": {"samples": 3, "lossValue": 0.5, "accuracy": 0.8}, "promotion": "promoted", "promotionReason": "better on 3 held-out samples", "finetuned": "0.1.0"}','2027-01-15T08:01:40.000Z',0);
INSERT INTO "versions" VALUES('gestures','',2,1,'00000000030000000000000000','5555555555555555555555555555555555555555555555555555555555555555','{"model": "gestures", "user": "", "version": 2, "parent": 1, "task": "00000000030000000000000000", "base": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "sha256": "5555555555555555555555555555555555555555555555555555555555555555", "savedAt": "2027-01-15T08:01:40.000Z", "parameters": {"learningRate": 0.05, "epochs": 3, "seed": 7}, "samples": {"✊": 3}, "heldOut": 1, "before": {"samples": 3, "lossValue": 0.5, "accuracy": 0.8}, "after": {"samples": 3, "lossValue": 0.5, "accuracy": 0.8}, "promotion": "kept", "promotionReason": "no better on 3 held-out samples", "finetuned": "0.1.0"}','2027-01-15T08:01:40.000Z',0);
CREATE INDEX samples_new ON samples (model, user) WHERE task IS NULL;
CREATE UNIQUE INDEX tasks_one_alive ON tasks (model, user) WHERE state IN ('suspended', 'running', 'cancelling');
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outcomes',19);
COMMIT;
