//! The rules that hold on actix-web alone.

use super::mistakes_for;
use crate::framework::Actix;

#[test]
fn a_generic_handler_names_its_body() {
    let mistakes = |arguments: &str| {
        mistakes_for::<Actix>(&format!(
            "#[idempotent(ttl = \"1s\", unscoped, {arguments})]
            async fn pay<C: Ledger>(tx: &mut C, order: Json<Order>) -> String {{}}"
        ))
    };
    let message = r#"a generic handler has to name its body; add `body = "order"` with the argument's name, or `body = "none"`"#;
    for arguments in ["", "fingerprint = intent", "fingerprint = \"body\""] {
        assert_eq!(mistakes(arguments), [("C".to_owned(), message.to_owned())]);
    }
    for arguments in [
        "body = \"order\"",
        "body = \"none\"",
        "fingerprint = \"raw\"",
    ] {
        assert_eq!(mistakes(arguments), []);
    }
}
