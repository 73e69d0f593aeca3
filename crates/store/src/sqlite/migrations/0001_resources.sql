-- One row for each resource. The primary key is the table itself, so reading all rows reads every page there is.
CREATE TABLE resources (
    kind              TEXT    NOT NULL,
    mesh              TEXT    NOT NULL,
    name              TEXT    NOT NULL,
    labels            TEXT    NOT NULL,
    spec              TEXT    NOT NULL,
    status            TEXT,
    spec_version      INTEGER NOT NULL,
    status_version    INTEGER NOT NULL,
    creation_time     TEXT    NOT NULL,
    modification_time TEXT    NOT NULL,
    owner_kind        TEXT,
    owner_mesh        TEXT,
    owner_name        TEXT,
    PRIMARY KEY (kind, mesh, name)
) STRICT, WITHOUT ROWID;
