-- Times are milliseconds since the Unix epoch. Ids are 32 hexadecimal digits; in `job_states`, which may have millions of rows, they are
-- the 16 bytes. A `checksum` is that of the row's content and its job's id (`checksum.rs`).

CREATE TABLE cells (
  number        INTEGER PRIMARY KEY,
  id            TEXT NOT NULL UNIQUE,
  configuration TEXT NOT NULL          -- canonical JSON
);

-- Short rows: a restart reads them all.
CREATE TABLE job_states (
  number       INTEGER PRIMARY KEY,    -- the key of the job in the other tables
  id           BLOB NOT NULL UNIQUE,
  cell         INTEGER NOT NULL REFERENCES cells (number),
  seed         INTEGER NOT NULL,
  state        TEXT NOT NULL DEFAULT 'queued'
               CHECK (state IN ('queued', 'running', 'finished', 'failed', 'dropped')),
  attempts     INTEGER NOT NULL DEFAULT 0,
  failures     INTEGER NOT NULL DEFAULT 0, -- since an attempt last got further than all before it
  reached_before INTEGER NOT NULL DEFAULT 0, -- the furthest epoch at the last of them
  not_before   INTEGER NOT NULL DEFAULT 0,
  result       INTEGER NOT NULL DEFAULT 0, -- whether it has a result; it may be retrained for its weights
  kept         TEXT,                   -- JSON: the weights that it saved for child jobs, if any
  failure_kind TEXT,                   -- of a failed job
  failure      TEXT,
  failed_on    TEXT                    -- JSON: where a queued or running job failed since an attempt last got further, if anywhere
);

CREATE TABLE job_facts (
  job   INTEGER PRIMARY KEY REFERENCES job_states (number),
  facts TEXT NOT NULL,                 -- JSON, of a job with a result: weights, samples, realised noise, engine
  checksum INTEGER NOT NULL DEFAULT 0
);

-- Jobs. Their facts include the weights that they saved for child jobs.
CREATE VIEW jobs AS
  SELECT number, lower(hex(id)) AS id, (SELECT cells.id FROM cells WHERE cells.number = job_states.cell) AS cell, seed, state,
         attempts, failures, reached_before, not_before, failure_kind, failure,
         (SELECT iif(kept IS NULL, facts, json_set(facts, '$.kept', json(kept)))
          FROM job_facts WHERE job_facts.job = job_states.number) AS facts
  FROM job_states;

CREATE TABLE sweeps (
  ordinal   INTEGER PRIMARY KEY,
  name      TEXT NOT NULL UNIQUE,
  source    TEXT NOT NULL,             -- the sweep file
  submitted INTEGER NOT NULL,
  cancelled INTEGER,                   -- when
  paused    TEXT,                      -- JSON: why its dispatch is paused, if it is
  checksum  INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE sweep_jobs (
  sweep    INTEGER NOT NULL REFERENCES sweeps (ordinal) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  job      INTEGER NOT NULL REFERENCES job_states (number),
  PRIMARY KEY (sweep, position)
) WITHOUT ROWID;

CREATE TABLE attempts (
  job     INTEGER NOT NULL REFERENCES job_states (number),
  attempt INTEGER NOT NULL,
  worker  TEXT NOT NULL,
  started INTEGER NOT NULL,
  ended   INTEGER,
  ending  TEXT,                        -- 'finished', 'cancelled' or the kind of failure
  message TEXT,
  PRIMARY KEY (job, attempt)
) WITHOUT ROWID;

CREATE TABLE epochs (
  job          INTEGER NOT NULL REFERENCES job_states (number),
  attempt      INTEGER NOT NULL,
  epoch        INTEGER NOT NULL,
  at           INTEGER NOT NULL,
  measurements TEXT NOT NULL,          -- JSON: metric to value; null where the value is not finite
  checksum     INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job, attempt, epoch)
) WITHOUT ROWID;

-- The value of each metric at each selection of one epoch (final, best, best-validation, best-validation-loss), for finished jobs and for
-- the epochs that a job completed before it diverged. Means over the last epochs are computed from `epochs` on request.
CREATE TABLE results (
  job    INTEGER NOT NULL REFERENCES job_states (number),
  at     TEXT NOT NULL,
  metric TEXT NOT NULL,
  epoch  INTEGER NOT NULL,
  value  REAL,                         -- null where it is not finite
  checksum INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job, at, metric)
) WITHOUT ROWID;

-- One row per job, attempt, epoch and metric. The rows of an attempt are complete: an attempt that resumes from a checkpoint reports the
-- earlier epochs again. The rows of a job are therefore those of the attempt that gave its result, or else of the latest attempt with
-- rows; others are superseded.
CREATE VIEW metrics AS
  SELECT lower(hex(jobs.id)) AS job, jobs.seed, epochs.attempt, epochs.epoch, measured.key AS metric, measured.value,
         epochs.attempt <> coalesce(
           (SELECT max(ended.attempt) FROM attempts AS ended WHERE ended.job = epochs.job AND ended.ending = 'finished'),
           (SELECT max(later.attempt) FROM epochs AS later WHERE later.job = epochs.job)) AS superseded
  FROM epochs JOIN job_states AS jobs ON jobs.number = epochs.job, json_each(epochs.measurements) AS measured;

-- One row per job, sweep, metric and selection, for use in notebooks.
CREATE VIEW sweep_results AS
  SELECT sweeps.name AS sweep, lower(hex(jobs.id)) AS job, cells.configuration, jobs.seed, jobs.state, results.at, results.metric,
         results.epoch, results.value
  FROM sweeps
  JOIN sweep_jobs ON sweep_jobs.sweep = sweeps.ordinal
  JOIN job_states AS jobs ON jobs.number = sweep_jobs.job
  JOIN cells ON cells.number = jobs.cell
  LEFT JOIN results ON results.job = jobs.number;
