//! X9, X12 and X17: errors from the database at every point of a request that uses it.
//!
//! Locks of other sessions, cancelled statements, ended sessions and messages that are too large
//! are real. Errors that would need a broken machine, such as a full disk, are raised by triggers
//! with the server's own code.

use bytes::Bytes;
use idem_core::store::Identity;
use idem_core::{Config, IdempotencyKey, Operation};
use idem_faults::{Answered, Kind, Report, retried};
use idem_tests::{
    Act, Body, Database, Domain as _, Framework, Instance, Mysql, Postgres, Reply, Request, Scene,
    Served, Settings, Sqlite, Wires, World, conformance,
};
use tokio::time::{Duration, sleep};

conformance![
    on [Postgres RecordInCommit Mysql]:
    x12_error_at_every_point,
    x12_lock_that_others_keep_at_every_point,
    x9_session_interrupted_at_every_point,
    x17_full_disk_at_every_point,
];

mod sqlite {
    use super::{x12_busy_at_the_claim, x17_full_database_at_every_point};

    idem_tests::conformance![
        on Sqlite:
        x12_busy_at_the_claim,
        x17_full_database_at_every_point,
    ];
}

mod mysql {
    use super::x17_message_too_large_at_every_point;

    idem_tests::conformance![
        on Mysql:
        x17_message_too_large_at_every_point,
    ];
}

/// An endpoint whose duplicates do not wait.
const PATH: &str = "/hasty";

/// The points at which a request uses the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// P2: the claim.
    Claim,
    /// P4: a statement of the handler.
    Statement,
    /// P8: the statement that writes the record.
    Record,
    /// P9: COMMIT.
    Commit,
}

/// A server that can be made to fail.
trait Failing: Served {
    /// The points at which it can fail.
    const PLACES: &'static [Place];

    /// Its error codes for a conflict with another transaction, or for a statement that takes too
    /// long.
    const CODES: &'static [&'static str];

    /// Its error codes for a full disk or memory.
    const FULL: &'static [&'static str];

    /// Triggers that raise the error in the table `troubles` for their place, and a COMMIT that
    /// waits for the row `held`.
    const SETUP: &'static str;

    /// Settings that make a session give up waiting for locks.
    const IMPATIENT: &'static [&'static str];

    /// Applies such a setting to all later sessions.
    async fn make(&self, wires: &mut Wires, impatient: &'static str);

    /// The points at which a session can be made to wait.
    const WAITS: &'static [Place];

    /// Blocks other sessions at this point, until [`RELEASE`](Self::RELEASE).
    fn hold(place: Place, identity: &str) -> String;

    /// Ends the effect of [`hold`](Self::hold).
    const RELEASE: &'static str;

    /// A query for a session's own id.
    const SESSION: &'static str;

    /// Interrupts the session that waits for the session with this id.
    async fn interrupt(connection: &mut Self::Connection, holder: i64, interruption: Interruption);
}

/// An operator's action on a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interruption {
    Cancel,
    Terminate,
}

impl<const RECORD_IN_COMMIT: bool> Failing for Postgres<RECORD_IN_COMMIT> {
    const PLACES: &'static [Place] =
        &[Place::Claim, Place::Statement, Place::Record, Place::Commit];
    const CODES: &'static [&'static str] = &["40001", "40P01", "55P03", "57014", "XX000"];
    const FULL: &'static [&'static str] = &["53100", "53200"];
    const IMPATIENT: &'static [&'static str] = &["lock_timeout = 100", "statement_timeout = 100"];
    const SETUP: &'static str = "
        CREATE TABLE troubles (place text, code text);
        CREATE FUNCTION trouble(at text) RETURNS void LANGUAGE plpgsql AS $$
            DECLARE raised text; BEGIN
                SELECT code INTO raised FROM public.troubles WHERE place = at;
                IF FOUND THEN RAISE EXCEPTION 'trouble' USING ERRCODE = raised; END IF;
            END $$;
        CREATE FUNCTION troubled() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM public.trouble(TG_ARGV[0]);
            IF TG_ARGV[0] = 'Commit' THEN
                PERFORM FROM public.names WHERE name = 'at COMMIT' FOR UPDATE;
            END IF;
            RETURN NEW;
        END $$;
        CREATE OR REPLACE FUNCTION idem.try_lock(lock_id bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
            PERFORM public.trouble('Claim');
            RETURN pg_catalog.pg_try_advisory_xact_lock(lock_id);
        END $$;
        CREATE TRIGGER troubled BEFORE INSERT ON names FOR EACH ROW EXECUTE FUNCTION troubled('Statement');
        CREATE TRIGGER troubled BEFORE INSERT OR UPDATE ON idem.records
            FOR EACH ROW EXECUTE FUNCTION troubled('Record');
        CREATE CONSTRAINT TRIGGER troubled AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION troubled('Commit');
        INSERT INTO names VALUES ('held'), ('at COMMIT');
    ";
    const WAITS: &'static [Place] = Self::PLACES;
    const RELEASE: &'static str = "ROLLBACK";

    const SESSION: &'static str = "SELECT pg_backend_pid()::bigint";

    async fn make(&self, _: &mut Wires, impatient: &'static str) {
        self.set(impatient).await;
    }

    fn hold(place: Place, identity: &str) -> String {
        let held = match place {
            Place::Claim => "LOCK TABLE idem.records".to_owned(),
            Place::Statement => "SELECT FROM names WHERE name = 'held' FOR UPDATE".to_owned(),
            Place::Commit => "SELECT FROM names WHERE name = 'at COMMIT' FOR UPDATE".to_owned(),
            Place::Record => format!(
                "INSERT INTO idem.records VALUES ({}, '', 3, 1, 500, '', NULL, now(), now())",
                Self::bytes(identity)
            ),
        };
        format!("BEGIN; {held}")
    }

    async fn interrupt(connection: &mut Self::Connection, holder: i64, interruption: Interruption) {
        let function = match interruption {
            Interruption::Cancel => "pg_cancel_backend",
            Interruption::Terminate => "pg_terminate_backend",
        };
        let interrupt = format!(
            "SELECT count({function}(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND {holder} = ANY (pg_blocking_pids(pid))"
        );
        connection.number(&interrupt).await.expect("a number");
    }
}

impl<const CLUSTER: bool> Failing for Mysql<CLUSTER> {
    const PLACES: &'static [Place] = &[Place::Claim, Place::Statement, Place::Record];
    const CODES: &'static [&'static str] = &["1213", "1205", "1020", "1317", "1969"];
    const FULL: &'static [&'static str] = &["1114", "1021", "1041"];
    const IMPATIENT: &'static [&'static str] = &[
        "SET SESSION innodb_lock_wait_timeout = 1, SESSION lock_wait_timeout = 1",
        // Only MariaDB has the second setting for statements other than SELECT.
        "SET SESSION lock_wait_timeout = 1 /*M!, SESSION max_statement_time = 0.1 */",
    ];
    const SETUP: &'static str = "
        CREATE TABLE troubles (place VARCHAR(20), code INT);
        CREATE PROCEDURE trouble(at VARCHAR(20)) BEGIN
            DECLARE raised INT DEFAULT (SELECT code FROM troubles WHERE place = at);
            IF raised IS NOT NULL THEN
                SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = raised, MESSAGE_TEXT = 'trouble';
            END IF;
        END;
        CREATE TRIGGER claim BEFORE INSERT ON idem_records FOR EACH ROW CALL trouble('Claim');
        CREATE TRIGGER record BEFORE UPDATE ON idem_records FOR EACH ROW CALL trouble('Record');
        CREATE TRIGGER statement BEFORE INSERT ON names FOR EACH ROW CALL trouble('Statement');
        INSERT INTO names VALUES ('held');
    ";
    /// The statement that writes the record can't wait: the row is the claim's own.
    const WAITS: &'static [Place] = &[Place::Claim, Place::Statement];
    const RELEASE: &'static str = "ROLLBACK; UNLOCK TABLES";

    const SESSION: &'static str = "SELECT CAST(CONNECTION_ID() AS SIGNED)";

    async fn make(&self, wires: &mut Wires, impatient: &'static str) {
        wires.opening = impatient;
    }

    fn hold(place: Place, _: &str) -> String {
        match place {
            Place::Claim => "LOCK TABLES idem_records WRITE",
            _ => "START TRANSACTION; SELECT name FROM names WHERE name = 'held' FOR UPDATE",
        }
        .to_owned()
    }

    async fn interrupt(connection: &mut Self::Connection, holder: i64, interruption: Interruption) {
        let what = match interruption {
            Interruption::Cancel => "QUERY",
            Interruption::Terminate => "CONNECTION",
        };
        let busy = format!(
            "FROM information_schema.processlist WHERE db = DATABASE() AND command = 'Query' \
             AND id NOT IN (CONNECTION_ID(), {holder})"
        );
        let count = format!("SELECT COUNT(*) {busy}");
        if connection.number(&count).await.expect("a number") > 0 {
            let one = format!("SELECT CAST(MIN(id) AS SIGNED) {busy}");
            // The session may have ended by now.
            if let Ok(session) = connection.number(&one).await {
                let _ = connection.run(&format!("KILL {what} {session}")).await;
            }
        }
    }
}

/// A statement of the handler that fails. [`WAITS`] is one that waits.
const FAILS: &str = "INSERT INTO names VALUES ('troubled')";
const WAITS: &str = "SELECT name FROM names WHERE name = 'held' FOR UPDATE";

/// Handlers with a failing statement: one answers the error, one hides it.
fn scenes(place: Place, statement: &str) -> Vec<Scene> {
    if place == Place::Statement {
        let says = Act::Try(statement.to_owned(), Reply::new(500));
        return vec![
            Scene::new([Act::Insert, says]),
            Scene::new([Act::Insert, Act::swallow(statement)]),
        ];
    }
    let kinds = [Kind::Success, Kind::FinalFailure, Kind::RetriableFailure];
    let scene = |kind: Kind| Scene::answering(Reply::new(kind.status()));
    let kinds = kinds.into_iter().map(scene);
    // A failure undoes the writes that COMMIT would check.
    kinds
        .take(if place == Place::Commit { 1 } else { 3 })
        .collect()
}

/// Asserts the answer after the database failed: never a success, and never a false statement.
fn assert_answer(place: Place, scene: &Scene, answered: &Answered) {
    let Answered::Answer(answer) = answered else {
        panic!("{place:?}: there is no answer");
    };
    let status = answer.status;
    match (place, scene.reply.status) {
        // Some databases undo only the statement.
        (Place::Statement, _) => assert!(matches!(status, 201 | 500 | 503), "{status}"),
        // Another attempt may hold the lock, so the answer may be 409.
        (Place::Claim, _) => assert!(matches!(status, 409 | 503), "{status}"),
        (Place::Record, 500) => assert_eq!(status, 500, "{}", answer.text()),
        _ => assert_eq!(status, 503, "{place:?}: {}", answer.text()),
    }
}

/// A request whose label says what happens to it.
fn request<D: Database>(instance: &Instance<D>, label: &str) -> (Request, String) {
    let label = label.replace([' ', '"', '(', ')', '='], "");
    (instance.post(PATH).key(&label).effect(&label), label)
}

async fn raised<F: Framework<D>, D: Failing>(world: &World<F, D>, codes: &[&str]) -> Report {
    let (instance, clean) = (world.instance().await, world.instance().await);
    world.run(D::SETUP).await;
    let mut report = Report::default();
    for &place in D::PLACES {
        for code in codes {
            for (number, scene) in scenes(place, FAILS).into_iter().enumerate() {
                let (request, label) = request(&instance, &format!("{place:?}-{code}-{number}"));
                let trouble = format!("INSERT INTO troubles VALUES ('{place:?}', '{code}')");
                world.run(trouble).await;
                let entries = world.control.entries();
                world.control.play([scene.clone()]);
                let answered = Answered::Answer(request.send().await);
                assert_answer(place, &scene, &answered);
                let entered = usize::from(place != Place::Claim);
                assert_eq!(world.control.entries(), entries + entered, "{label}");
                world.control.forget();
                world.run("DELETE FROM troubles").await;
                let elsewhere = request.clone().to(clean.address);
                report = report
                    .and(retried(world, [&request, &elsewhere], vec![answered], &label).await);
            }
        }
    }
    report
}

async fn x12_error_at_every_point<F: Framework<D>, D: Failing>(world: &World<F, D>) {
    let report = raised(world, D::CODES).await;
    report.holds();
    report.is_soon_over();
    assert!(report.faults >= D::CODES.len() * 8);
}

async fn x17_full_disk_at_every_point<F: Framework<D>, D: Failing>(world: &World<F, D>) {
    let report = raised(world, D::FULL).await;
    report.holds();
    report.is_soon_over();
    assert!(report.faults >= D::FULL.len() * 8);
}

/// Sends a request that waits for a lock at this point. `meanwhile` ends the wait; otherwise only
/// the server does.
async fn waits<F: Framework<D>, D: Failing>(
    world: &World<F, D>,
    [instance, clean]: [&Instance<D>; 2],
    (place, scene): (Place, Scene),
    label: String,
    interruption: Option<Interruption>,
) -> Report {
    let (request, label) = request(instance, &label);
    let key = IdempotencyKey::parse(label.as_bytes()).expect("a key");
    let operation = Operation::of_route("POST", PATH);
    let identity = Identity::new(Some("acme"), &operation, &key);
    let hold = D::hold(place, &format!("{identity:?}"));
    let mut holder = world.observe().await;
    let session = holder.number(D::SESSION).await.expect("a number");
    let gated = world.control.gated() + 1;
    let mut first = if place == Place::Record {
        world.control.play([scene.clone().then(Act::Wait)]);
        let first = request.start();
        world.control.at_gate(gated).await;
        holder.run(&hold).await.expect("it is free");
        world.control.open(1);
        first
    } else {
        holder.run(&hold).await.expect("it is free");
        world.control.play([scene.clone()]);
        request.start()
    };
    if let Some(interruption) = interruption {
        let mut observer = world.observe().await;
        while !first.is_answered() {
            D::interrupt(&mut observer, session, interruption).await;
            sleep(Duration::from_millis(5)).await;
        }
    }
    first.answered().await;
    let answered = Answered::Answer(first.answer().await);
    holder.run(D::RELEASE).await.expect("it is let go");
    drop(holder);
    assert_answer(place, &scene, &answered);
    world.control.forget();
    let elsewhere = request.clone().to(clean.address);
    retried(world, [&request, &elsewhere], vec![answered], &label).await
}

async fn x12_lock_that_others_keep_at_every_point<F: Framework<D>, D: Failing>(
    world: &World<F, D>,
) {
    let clean = world.instance().await;
    world.run(D::SETUP).await;
    let mut report = Report::default();
    for (number, impatient) in D::IMPATIENT.iter().enumerate() {
        let mut settings = Settings::default();
        world.database.make(&mut settings.wires, impatient).await;
        let instance = world.instance_with(settings).await;
        for &place in D::WAITS {
            // The time limit of a statement does not apply to COMMIT.
            if place == Place::Commit && impatient.contains("statement") {
                continue;
            }
            for (scene_number, scene) in scenes(place, WAITS).into_iter().enumerate() {
                let label = format!("{place:?}-{number}-{scene_number}");
                let instances = [&*instance, &*clean];
                report = report.and(waits(world, instances, (place, scene), label, None).await);
            }
        }
    }
    report.holds();
    report.is_soon_over();
    assert!(report.faults >= 10);
}

async fn x9_session_interrupted_at_every_point<F: Framework<D>, D: Failing>(world: &World<F, D>) {
    let (instance, clean) = (world.instance().await, world.instance().await);
    world.run(D::SETUP).await;
    let mut report = Report::default();
    for interruption in [Interruption::Cancel, Interruption::Terminate] {
        for &place in D::WAITS {
            for (number, scene) in scenes(place, WAITS).into_iter().enumerate() {
                let label = format!("{place:?}-{interruption:?}-{number}");
                let (instances, how) = ([&*instance, &*clean], Some(interruption));
                report = report.and(waits(world, instances, (place, scene), label, how).await);
            }
        }
    }
    report.holds();
    report.is_soon_over();
    assert!(report.faults >= 10);
}

/// Another session holds the writer's lock. Inside an attempt, no other session can hold it.
async fn x12_busy_at_the_claim<F: Framework<Sqlite>>(world: &World<F, Sqlite>) {
    let (instance, clean) = (world.instance_of(1).await, world.instance().await);
    let mut report = Report::default();
    for (number, scene) in scenes(Place::Claim, "").into_iter().enumerate() {
        let mut session = instance.pool.acquire().await.expect("a connection");
        session
            .run("PRAGMA busy_timeout = 0")
            .await
            .expect("a setting");
        drop(session);
        let (request, label) = request(&instance, &format!("busy-{number}"));
        let mut holder = world.observe().await;
        holder.run("BEGIN IMMEDIATE").await.expect("it is free");
        world.control.play([scene]);
        let answered = request.send().await;
        answered.assert_problem("unavailable");
        assert_eq!(world.control.entries(), number);
        holder.run("ROLLBACK").await.expect("it is let go");
        drop(holder);
        world.control.forget();
        let elsewhere = request.clone().to(clean.address);
        let answered = vec![Answered::Answer(answered)];
        report = report.and(retried(world, [&request, &elsewhere], answered, &label).await);
    }
    report.holds();
    report.is_soon_over();
    assert_eq!(report.faults, 3);
}

/// A database that may not grow.
async fn x17_full_database_at_every_point<F: Framework<Sqlite>>(world: &World<F, Sqlite>) {
    let (instance, clean) = (world.instance_of(1).await, world.instance().await);
    let large = "INSERT INTO names VALUES (hex(randomblob(100000)))";
    let grow = async |pages: usize| {
        let mut session = instance.pool.acquire().await.expect("a connection");
        let set = session
            .run(&format!("PRAGMA max_page_count = {pages}"))
            .await;
        set.expect("a setting");
    };
    let mut report = Report::default();
    for place in [Place::Statement, Place::Record] {
        for (number, mut scene) in scenes(place, large).into_iter().enumerate() {
            if place == Place::Record {
                scene.reply.body = Body::Bytes(Bytes::from(vec![b'x'; 100_000]));
            }
            let (request, label) = request(&instance, &format!("{place:?}-{number}"));
            // The limit can't be less than the present number of pages.
            grow(1).await;
            world.control.play([scene.clone()]);
            let answered = request.send().await;
            grow(1_000_000).await;
            if place == Place::Statement {
                // SQLite has ended the transaction by itself: nothing of it is kept, and the
                // request may be sent again.
                assert_eq!(
                    world.effects("acme").await,
                    i64::try_from(number).expect("few")
                );
                assert_eq!(answered.status, 500);
                if number == 1 {
                    answered.assert_problem("transaction-lost");
                    answered.assert_retryable(true);
                }
            }
            let answered = Answered::Answer(answered);
            assert_answer(place, &scene, &answered);
            let elsewhere = request.clone().to(clean.address);
            report =
                report.and(retried(world, [&request, &elsewhere], vec![answered], &label).await);
        }
    }
    report.holds();
    report.is_soon_over();
    assert_eq!(report.faults, 5);
}

/// The server closes a session that sends too large a message.
async fn x17_message_too_large_at_every_point<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let most = world
        .number("SELECT CAST(@@GLOBAL.max_allowed_packet AS SIGNED)")
        .await;
    let most = usize::try_from(most).expect("not negative");
    let config = Config::new().with_response_limit(2 * most);
    let (instance, clean) = (world.configured(config).await, world.instance().await);
    let large = "x".repeat(most + 1);
    let mut report = Report::default();
    for place in [Place::Statement, Place::Record] {
        let statement = format!("INSERT INTO names VALUES ('{large}')");
        for (number, mut scene) in scenes(place, &statement).into_iter().enumerate() {
            if place == Place::Record {
                scene.reply.body = Body::Bytes(Bytes::from(large.clone()));
            }
            let (request, label) = request(&instance, &format!("{place:?}-{number}"));
            world.control.play([scene.clone()]);
            let answered = Answered::Answer(request.send().await);
            assert_answer(place, &scene, &answered);
            let elsewhere = request.clone().to(clean.address);
            report =
                report.and(retried(world, [&request, &elsewhere], vec![answered], &label).await);
        }
    }
    report.holds();
    report.is_soon_over();
    assert_eq!(report.faults, 5);
}
