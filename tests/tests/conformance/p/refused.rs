//! A database that refuses every record.

use idem_tests::{Database, Framework, Mysql, Postgres, Sqlite, World, conformance};

conformance![p5_record_that_the_database_always_refuses_is_misconfigured,];

/// SQL that makes the database refuse every record, with an error that a retry can't mend.
trait Refusing: Database {
    const REFUSE: &'static str;
    const ACCEPT: &'static str;
}

impl<const RECORD_IN_COMMIT: bool> Refusing for Postgres<RECORD_IN_COMMIT> {
    const REFUSE: &'static str = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RAISE insufficient_privilege; END'; \
         CREATE TRIGGER refuses BEFORE INSERT ON idem.records FOR EACH ROW EXECUTE FUNCTION refuse()";
    const ACCEPT: &'static str = "DROP FUNCTION refuse CASCADE";
}

impl Refusing for Mysql {
    const REFUSE: &'static str = "CREATE TRIGGER refuses BEFORE UPDATE ON idem_records FOR EACH ROW \
         SIGNAL SQLSTATE '42000' SET MYSQL_ERRNO = 1142, MESSAGE_TEXT = 'denied'";
    const ACCEPT: &'static str = "DROP TRIGGER refuses";
}

impl Refusing for Sqlite {
    const REFUSE: &'static str = "CREATE TRIGGER refuses BEFORE INSERT ON idem_records \
         BEGIN SELECT RAISE(ABORT, 'denied'); END";
    const ACCEPT: &'static str = "DROP TRIGGER refuses";
}

/// The instance has been checked before.
async fn p5_record_that_the_database_always_refuses_is_misconfigured<
    F: Framework<D>,
    D: Refusing,
>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    world.run(D::REFUSE).await;
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_problem("misconfigured");
    assert_eq!(world.control.entries(), 1);
    assert_eq!((world.effects("acme").await, world.records().await), (0, 0));
    world.run(D::ACCEPT).await;
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
}
