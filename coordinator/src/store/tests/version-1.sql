
CREATE TABLE cells (
  id            TEXT PRIMARY KEY,
  configuration TEXT NOT NULL          -- canonical JSON
) WITHOUT ROWID;

CREATE TABLE jobs (
  number       INTEGER PRIMARY KEY,    -- what the other tables call the job
  id           TEXT NOT NULL UNIQUE,
  cell         TEXT NOT NULL REFERENCES cells (id),
  seed         INTEGER NOT NULL,
  state        TEXT NOT NULL DEFAULT 'queued'
               CHECK (state IN ('queued', 'running', 'finished', 'failed', 'dropped')),
  attempts     INTEGER NOT NULL DEFAULT 0,
  failures     INTEGER NOT NULL DEFAULT 0,
  not_before   INTEGER NOT NULL DEFAULT 0,
  failure_kind TEXT,                   -- of a failed job
  failure      TEXT,
  facts        TEXT                    -- JSON, of a finished job: weights, samples, realised noise, engine
);

CREATE TABLE sweeps (
  ordinal   INTEGER PRIMARY KEY,
  name      TEXT NOT NULL UNIQUE,
  source    TEXT NOT NULL,             -- the sweep file
  submitted INTEGER NOT NULL,
  cancelled INTEGER                    -- when
);

CREATE TABLE sweep_jobs (
  sweep    INTEGER NOT NULL REFERENCES sweeps (ordinal) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  job      INTEGER NOT NULL REFERENCES jobs (number),
  PRIMARY KEY (sweep, position)
) WITHOUT ROWID;

CREATE TABLE attempts (
  job     INTEGER NOT NULL REFERENCES jobs (number),
  attempt INTEGER NOT NULL,
  worker  TEXT NOT NULL,
  started INTEGER NOT NULL,
  ended   INTEGER,
  ending  TEXT,                        -- 'finished' or the kind of failure
  message TEXT,
  PRIMARY KEY (job, attempt)
) WITHOUT ROWID;

CREATE TABLE epochs (
  job          INTEGER NOT NULL REFERENCES jobs (number),
  attempt      INTEGER NOT NULL,
  epoch        INTEGER NOT NULL,
  at           INTEGER NOT NULL,
  measurements TEXT NOT NULL,          -- JSON: metric to value; null where the value is not finite
  PRIMARY KEY (job, attempt, epoch)
) WITHOUT ROWID;

CREATE TABLE results (
  job    INTEGER NOT NULL REFERENCES jobs (number),
  at     TEXT NOT NULL,
  metric TEXT NOT NULL,
  epoch  INTEGER NOT NULL,
  value  REAL,                         -- null where it is not finite
  PRIMARY KEY (job, at, metric)
) WITHOUT ROWID;

CREATE VIEW metrics AS
  SELECT jobs.id AS job, jobs.seed, epochs.attempt, epochs.epoch, measured.key AS metric, measured.value
  FROM epochs JOIN jobs ON jobs.number = epochs.job, json_each(epochs.measurements) AS measured;

CREATE VIEW sweep_results AS
  SELECT sweeps.name AS sweep, jobs.id AS job, cells.configuration, jobs.seed, jobs.state, results.at, results.metric,
         results.epoch, results.value
  FROM sweeps
  JOIN sweep_jobs ON sweep_jobs.sweep = sweeps.ordinal
  JOIN jobs ON jobs.number = sweep_jobs.job
  JOIN cells ON cells.id = jobs.cell
  LEFT JOIN results ON results.job = jobs.number;

INSERT INTO cells VALUES ('00000000000000000000000000000001', '{"loss":"cce"}');
INSERT INTO jobs (number, id, cell, seed, state, attempts, failures, facts) VALUES
  (1, '00000000000000000000000000000002', '00000000000000000000000000000001', 1, 'finished', 2, 1,
   '{"parameters":1,"samples":{"train":1,"validation":0,"test":1},"noise_rate":0.0,"transition":[[1.0]],"data":"","engine":"none","weights":""}'),
  (2, '00000000000000000000000000000003', '00000000000000000000000000000001', 2, 'queued', 1, 1, NULL);
INSERT INTO sweeps VALUES (0, 'old', 'sweep: old', 1, NULL);
INSERT INTO sweep_jobs VALUES (0, 0, 1), (0, 1, 2);
INSERT INTO attempts VALUES
  (1, 1, 'w', 1, 2, 'infrastructure', 'lost'), (1, 2, 'w', 3, 4, 'finished', NULL), (2, 1, 'w', 5, 6, 'infrastructure', 'lost');
INSERT INTO epochs VALUES
  (1, 1, 1, 2, '{"test_accuracy":0.25}'), (1, 2, 1, 4, '{"test_accuracy":0.5}'), (2, 1, 1, 6, '{"test_accuracy":0.75}');
INSERT INTO results VALUES (1, 'final', 'test_accuracy', 1, 0.5);
PRAGMA user_version = 1;
