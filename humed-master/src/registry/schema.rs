//! The tables of the registry; each migration stays as it was released.

/// `hum` and a number of its own.
pub(super) const APPLICATION_ID: i32 = 0x6875_6d03;

pub(super) const MIGRATIONS: [&str; 4] = [FIRST, API_TOKENS, LAST_USE, API_CERTIFICATES];

/// Certificates of people and programs, known by the SHA-256 of the whole certificate.
const API_CERTIFICATES: &str = "
ALTER TABLE api_pass ADD COLUMN kind TEXT NOT NULL DEFAULT 'token' CHECK (kind IN ('token', 'certificate'));
";

/// When a token was last used; what it stands for has a wider name.
const LAST_USE: &str = "
ALTER TABLE api_token RENAME TO api_pass;
ALTER TABLE api_pass ADD COLUMN used_us INTEGER;
";

/// Tokens of people and programs.
const API_TOKENS: &str = "
CREATE TABLE api_token(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  -- Of the secret, which is kept nowhere.
  sha256 BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
  role TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
  -- Patterns of what it may see, JSON lists; null for all.
  tasks TEXT,
  hosts TEXT,
  expires_us INTEGER,
  made_by TEXT NOT NULL,
  made_us INTEGER NOT NULL,
  revoked_us INTEGER
) STRICT;
CREATE UNIQUE INDEX api_token_name ON api_token(name) WHERE revoked_us IS NULL;
";

/// States and generations of agents, certificates, tokens for enrolment, and the log that nobody can change.
const FIRST: &str = "
CREATE TABLE agent(
  id BLOB PRIMARY KEY CHECK (length(id) = 16),
  host TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('pending', 'active', 'suspended', 'revoked')),
  -- Of the last certificate that was issued, and of the last one that a session showed; 0 before the first.
  issued INTEGER NOT NULL DEFAULT 0,
  confirmed INTEGER NOT NULL DEFAULT 0,
  -- Patterns of other hosts that it may report for, a JSON list.
  allow_hosts TEXT NOT NULL DEFAULT '[]',
  entered_us INTEGER NOT NULL,
  changed_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX agent_host ON agent(host);

CREATE TABLE certificate(
  serial BLOB PRIMARY KEY,
  agent BLOB NOT NULL REFERENCES agent(id),
  generation INTEGER NOT NULL,
  -- SHA-256 of its public key, and of the certificate of its issuer, in hex.
  spki TEXT NOT NULL,
  issuer TEXT NOT NULL,
  not_before_us INTEGER NOT NULL,
  not_after_us INTEGER NOT NULL,
  issued_us INTEGER NOT NULL,
  -- With its chain.
  pem TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX certificate_agent ON certificate(agent, generation);

CREATE TABLE enrolment_token(
  id TEXT PRIMARY KEY,
  -- The public key of the secret.
  key BLOB NOT NULL,
  host TEXT,
  approve INTEGER NOT NULL,
  uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
  expires_us INTEGER NOT NULL,
  made_by TEXT NOT NULL,
  made_us INTEGER NOT NULL,
  revoked_us INTEGER
) STRICT, WITHOUT ROWID;

-- Which keys joined with which token: who asks again with the same key gets the same answer.
CREATE TABLE joined(
  token TEXT NOT NULL REFERENCES enrolment_token(id),
  spki TEXT NOT NULL,
  agent BLOB NOT NULL REFERENCES agent(id),
  joined_us INTEGER NOT NULL,
  PRIMARY KEY (token, spki)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  time_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  address TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail TEXT NOT NULL,
  outcome TEXT NOT NULL
) STRICT;
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END;
CREATE TRIGGER audit_is_not_forgotten BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is only appended to'); END;
";
