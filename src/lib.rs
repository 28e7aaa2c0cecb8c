//! bake builds a monorepo's container images from one checked-in file.
//!
//! A bakefile is evaluated ([`bakefile`]), expanded to targets × platforms ([`plan`]), lowered with its Dockerfiles
//! ([`frontend`]) into one content-addressed [`graph`], solved in parallel ([`solver`], [`worker`]) against a [`store`],
//! and sent out ([`export`]). [`lock`] pins the inputs and records the results.
//!
//! # Strata
//! A module imports only from rows below its own. `tests/it/architecture.rs` reads this table and fails with the
//! offending `use` line. Rows 0 to 3 do no IO and see no clock, environment or thread; `sys` and `solver::drive` apart.
//!
//! | row | module | one line |
//! |---|---|---|
//! | 8 | `cli` | flags, terminal, exit codes; the only place that prints or reads the environment |
//! | 7 | `commands` | one file per verb: a short recipe over the rows below |
//! | 6 | `report` | events → progress and summary |
//! | 6 | `remotecache` | caches that machines share: entries and layers in registries, directories, S3, GitHub Actions |
//! | 6 | `export` | results → image, OCI layout, Docker and Podman, local directory, tar; the release transaction |
//! | 5 | `worker` | runs one op: file ops, native and emulated exec; `worker::sandbox` holds namespaces and mounts |
//! | 5 | `source` | brings images, git trees and files over HTTP in |
//! | 4 | `registry` | OCI distribution client: auth, pull, push, retries |
//! | 4 | `store` | content-addressed blobs, snapshots, cache records; the layout on disk |
//! | 3 | `solver` | a pure state machine: states, priorities, hits and misses; `solver::drive` is its one thread |
//! | 3 | `frontend` | target + Dockerfile → graph; says what it needs by returning it |
//! | 3 | `attest` | provenance and SBOM: documents of what a build knows; packages from databases' bytes |
//! | 2 | `graph` | content-addressed steps in LLB's shape; petgraph is hidden in here |
//! | 2 | `plan` | which targets × platforms, evaluated and pinned |
//! | 2 | `lock` | the lockfile as a value: parse, print, diff |
//! | 1 | `bakefile` | bakefile model: targets, groups, variables; merged, overridden, expanded |
//! | 1 | `dockerfile` | Dockerfile text → typed instructions with spans; ignore files |
//! | 1 | `oci` | image config, manifest and index as bytes and values |
//! | 1 | `lang` | HCL expressions and bodies: parse, evaluate, with spans |
//! | 0 | `digest` | SHA-256 content addresses, diff ids, chain ids |
//! | 0 | `platform` | os/architecture/variant |
//! | 0 | `reference` | image names |
//! | 0 | `remote` | URLs of git repositories and of files over HTTP |
//! | 0 | `diagnostic` | findings in the user's files, with the source shown |
//! | 0 | `text` | texts as Go's standard library reads them |
//! | 0 | `sys` | the operating system's edge: files beneath a root |
//!
//! Siblings that may be imported: `lang` by `bakefile`, `diagnostic` by `platform`, `digest` by `reference`, `text` by `remote`; no others.

pub mod attest;
pub mod bakefile;
pub mod cli;
pub mod commands;
pub mod diagnostic;
pub mod digest;
pub mod dockerfile;
pub mod export;
pub mod frontend;
pub mod graph;
pub mod lang;
pub mod lock;
pub mod oci;
pub mod plan;
pub mod platform;
pub mod reference;
pub mod registry;
pub mod remote;
pub mod remotecache;
pub mod report;
pub mod solver;
pub mod source;
pub mod store;
pub mod sys;
pub mod text;
pub mod worker;
