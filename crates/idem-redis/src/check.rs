//! The settings of the server.

use idem_core::store::{Identity, Operation};
use idem_core::{IdempotencyKey, StoreError};
use redis::cmd;

use crate::link::{Failure, Node};
use crate::scripts;
use crate::send::{Effort, Failed, at_start, is_forbidden};
use crate::store::{Durability, RedisStore, misconfigured};

impl RedisStore {
    /// Checks that the server is fit to keep records. Call it at the start of the service.
    ///
    /// A server that evicts keys is refused: an evicted record is a request that runs again, and an evicted run is a
    /// handler that runs beside another. So is a node of a cluster without [`RedisStore::new_cluster`], as it has a part
    /// of the keys, a replica, a primary that has fewer replicas than [`Durability::Replicas`] asks for, and a user
    /// without the rights of an attempt: the check writes a record, and deletes it. A server without an append-only file
    /// is reported at warn level, and so are settings that the server does not show.
    ///
    /// # Errors
    ///
    /// [`StoreError::Misconfigured`] with the remedy; [`StoreError::Unavailable`] if the server does not answer.
    pub async fn check(&self) -> Result<(), StoreError> {
        let nodes = self.links.shared.nodes(self.timeout).await;
        for node in nodes.map_err(|failure| refusal(failure.into()))? {
            self.check_node(&node).await?;
        }
        self.check_rights().await
    }

    /// A right to a command of a script is asked for when the script comes to it.
    async fn check_rights(&self) -> Result<(), StoreError> {
        const HOLDER: &str = "check";
        const TIME: &str = "1000000";
        let key = IdempotencyKey::parse(b"check").map_err(|error| misconfigured(error.into()))?;
        let operation = Operation::named("idem check");
        let key = self.key(&Identity::new(None, &operation, &key));
        let operation = operation.as_str();
        // Checks of several processes at once are one claim.
        for (script, arguments) in [
            (
                &scripts::CLAIM,
                &[HOLDER, TIME, TIME, operation, "", "1", "", "", "0"][..],
            ),
            (
                &scripts::FINISH,
                &[HOLDER, "1", TIME, operation, "", "1", "1", "200"],
            ),
            (&scripts::FORGET, &[]),
        ] {
            let arguments: Vec<Vec<u8>> = arguments.iter().map(|text| (*text).into()).collect();
            let written = self.write(script, &key, &arguments, Effort::Request).await;
            written.map_err(refusal)?;
        }
        Ok(())
    }

    async fn check_node(&self, node: &Node) -> Result<(), StoreError> {
        let info = cmd("INFO");
        let info = self.links.shared.send_to(node, &info, self.timeout).await;
        let info: String = match info {
            Ok(info) => redis::from_redis_value(info)
                .map_err(|error| StoreError::Unavailable(error.into()))?,
            Err(Failure::Refused(error)) if is_forbidden(&error) => {
                tracing::warn!(
                    %error,
                    "the server does not show its settings: make sure that `maxmemory-policy` is \
                     `noeviction` and `appendonly` is `yes`"
                );
                return Ok(());
            }
            Err(failure) => return Err(refusal(failure.into())),
        };
        let setting = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        match setting("maxmemory_policy") {
            Some("noeviction") => {}
            Some(policy) => {
                let reason = format!(
                    "the server evicts keys (`maxmemory-policy` is `{policy}`), so records and runs can vanish; \
                     set `maxmemory-policy noeviction`, or use another server"
                );
                return Err(misconfigured(reason.into()));
            }
            None => tracing::warn!(
                "the server does not show its `maxmemory-policy`: make sure that it is `noeviction`"
            ),
        }
        if matches!(node, Node::Only) && setting("cluster_enabled") == Some("1") {
            let reason = "the server is in a cluster; use `RedisStore::new_cluster`, of the feature `cluster`";
            return Err(misconfigured(reason.into()));
        }
        if setting("role") == Some("slave") {
            let reason = "the server is a replica; connect to the primary";
            return Err(misconfigured(reason.into()));
        }
        let replicas = setting("connected_slaves").and_then(|count| count.parse::<u16>().ok());
        if let (Durability::Replicas(wanted), Some(replicas)) = (self.durability, replicas)
            && replicas < wanted
        {
            let reason = format!(
                "the durability asks for {wanted} replicas, and the server has {replicas}; \
                 add replicas, or lower the durability"
            );
            return Err(misconfigured(reason.into()));
        }
        if setting("aof_enabled") == Some("0") {
            tracing::warn!(
                "the server has no append-only file, so a restart loses records; set `appendonly yes`"
            );
        }
        Ok(())
    }
}

fn refusal(failed: Failed) -> StoreError {
    match failed {
        Failed::Refused(error) => at_start(error),
        failed => failed.into_store_error(),
    }
}
