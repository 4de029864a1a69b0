//! Disks that are really full. Each is a small tmpfs, which only root may mount.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use idem_tests::{
    Actix, Axum, Database, Domain as _, Framework, Postgres, Request, Served, Settings, Sqlite,
    World,
};
use tempfile::TempDir;
use tokio::task::block_in_place;
use tokio::time::sleep;
use xtask::server::{POSTGRES, Server};

use crate::kills::{Kills, PATH, conclude};
use crate::lane::TENANT;
use crate::load::Load;
use crate::report::Report;

/// A small file system. Dropping it removes it, with all files.
#[derive(Debug)]
struct Disk(TempDir);

/// Whether a disk of its own can be made.
pub fn may_mount() -> bool {
    let disk = TempDir::new().map(|folder| mount(folder.path(), 1).map(|()| Disk(folder)));
    matches!(disk, Ok(Ok(_)))
}

fn mount(folder: &Path, megabytes: usize) -> Result<(), String> {
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"]);
    let output = mount
        .arg(folder)
        .output()
        .map_err(|error| error.to_string())?;
    let message = String::from_utf8_lossy(&output.stderr);
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| message.trim().to_owned())
}

impl Disk {
    fn of(megabytes: usize) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        mount(folder.path(), megabytes).expect("a file system");
        let this = Self(folder);
        // The server runs as another user.
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(this.0.path(), all).expect("its owner");
        this
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut file = File::create(self.0.path().join("ballast")).expect("a file");
        for size in [1 << 16, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Makes room again.
    fn free(&self) {
        fs::remove_file(self.0.path().join("ballast")).expect("it is full");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let ended = Command::new("umount").arg("-l").arg(self.0.path()).status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("{}: can't be unmounted", self.0.path().display());
        }
    }
}

/// X17: an SQLite file on a disk that is full again and again.
pub async fn full_sqlite(kills: Kills) -> Report {
    let disk = Disk::of(8);
    let folder = TempDir::new_in(disk.0.path()).expect("a folder");
    let world = World::<Axum, Sqlite>::on(Sqlite::within(folder).await).await;
    full(world, &disk, kills, None).await
}

/// X17: a PostgreSQL server on a disk that is full again and again. At the last time its log can't be
/// written either, so it ends itself. As an init system does, the test starts it again.
pub async fn full_postgres(kills: Kills) -> Report {
    let disk = Disk::of(256);
    let server = block_in_place(|| Server::start_in(&POSTGRES, disk.0.path()));
    let server = server.expect("a server");
    let world = World::<Actix, Postgres>::on(<Postgres as Served>::on(server.url()).await).await;
    full(world, &disk, kills, Some(server)).await
}

async fn full<F: Framework<D>, D: Database>(
    world: World<F, D>,
    disk: &Disk,
    mut kills: Kills,
    mut server: Option<Server>,
) -> Report {
    let mut settings = Settings::default();
    settings.wires.acquire_timeout = Duration::from_secs(2);
    let address = world.instance_with(settings).await.address;
    let request = move |label: &str, _: usize| {
        let request = Request::new(address, "POST", PATH).tenant(TENANT);
        request.key(label).effect(label)
    };
    let load = Load::start(kills.clients, "key", request);
    let mut recoveries = Vec::new();
    for number in 0..kills.times {
        kills.pause().await;
        disk.fill();
        if number + 1 == kills.times
            && let Some(server) = &mut server
        {
            ended_by_its_log(&world, server).await;
        }
        refused(&load, request, number).await;
        kills.pause().await;
        disk.free();
        if let Some(server) = &mut server
            && !server.is_running()
        {
            block_in_place(|| server.restart()).expect("it starts again");
        }
        let label = format!("probe-{number}");
        let retry = async || request(&label, 0).attempt().await;
        recoveries.push(load.history().persist(&label, retry).await);
    }
    let retry = async |label: &str| request(label, 0).attempt().await;
    let mut report = conclude(world, load, kills, retry).await;
    report.recoveries = recoveries;
    report
}

/// Waits until a server has ended that can't write its log any more.
async fn ended_by_its_log<F: Framework<D>, D: Database>(world: &World<F, D>, server: &mut Server) {
    for _ in 0..1000 {
        if !server.is_running() {
            return;
        }
        // The next segment of the log needs room.
        if let Ok(mut session) = world.try_observe().await {
            drop(session.run("SELECT pg_switch_wal()").await);
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the server's log has room");
}

/// Sends fresh requests until one is refused. That is retryable: 503, or 500 if the handler's own
/// statement failed.
async fn refused(load: &Load, request: impl Fn(&str, usize) -> Request, number: usize) {
    for attempt in 0..10_000 {
        let label = format!("full-{number}-{attempt}");
        let answer = request(&label, 0).attempt().await;
        load.history().add(&label, answer.clone());
        let answer = answer.expect("the service runs");
        if answer.status != 201 {
            println!("{label}: {} {}", answer.status, answer.text());
            assert!(matches!(answer.status, 500 | 503), "{}", answer.text());
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("the disk is never full");
}
