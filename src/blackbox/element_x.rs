//! The engine of Element X (matrix-sdk and matrix-sdk-ui: sliding sync with its two connections, end-to-end encryption)
//! on two authorities that federate, each in a process of its own.

#![recursion_limit = "256"]
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, dead_code, reason = "each test uses a part of the shared module")]

mod demo;

use std::{future::Future, sync::Arc, time::Duration};

use matrix_sdk::{
    Client, Room, RoomState,
    config::RequestConfig,
    encryption::{BackupDownloadStrategy, EncryptionSettings},
    ruma::{
        OwnedRoomId, OwnedUserId, RoomId,
        api::client::room::create_room::v3::{Request as CreateRoom, RoomPreset},
        events::{
            InitialStateEvent, room::encryption::RoomEncryptionEventContent,
            room::message::RoomMessageEventContent,
        },
    },
    sliding_sync::VersionBuilder,
};
use matrix_sdk_ui::{
    sync_service::SyncService,
    timeline::{RoomExt, Timeline},
};

use crate::demo::{Account, Demo};

const PATIENCE: Duration = Duration::from_secs(60);

/// A person with a client that syncs in the background, as Element X does.
struct Person {
    client: Client,
    sync: Arc<SyncService>,
}

impl Person {
    async fn log_in(account: &Account) -> Self {
        let client = Client::builder()
            .homeserver_url(&account.client_url)
            .sliding_sync_version_builder(VersionBuilder::DiscoverNative)
            .with_encryption_settings(EncryptionSettings {
                auto_enable_cross_signing: true,
                auto_enable_backups: true,
                backup_download_strategy: BackupDownloadStrategy::AfterDecryptionFailure,
            })
            .request_config(RequestConfig::new().timeout(Duration::from_secs(30)))
            .build()
            .await
            .unwrap();
        client.matrix_auth().login_username(&account.user_id, &account.password).send().await.unwrap();
        client.encryption().wait_for_e2ee_initialization_tasks().await;
        let sync = Arc::new(SyncService::builder(client.clone()).build().await.unwrap());
        sync.start().await;
        Self { client, sync }
    }

    fn id(&self) -> OwnedUserId {
        self.client.user_id().unwrap().to_owned()
    }

    /// Looks whenever something has come for a room, and once a second for what tells nothing.
    async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, look: impl Fn() -> F) -> T {
        let mut news = self.client.subscribe_to_all_room_updates();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::timeout(Duration::from_secs(1), news.recv()).await.ok();
            }
        });
        found.await.unwrap_or_else(|_| panic!("{} still waits for: {what}", self.id()))
    }

    /// A room that the list of rooms has, in this state.
    async fn room(&self, id: &RoomId, state: RoomState) -> Room {
        let found = || async { self.client.get_room(id).filter(|room| room.state() == state) };
        self.until(&format!("the room, {state:?}"), found).await
    }

    async fn timeline(&self, id: &RoomId) -> Timeline {
        self.sync.room_list_service().subscribe_to_rooms(&[id]).await;
        self.room(id, RoomState::Joined).await.timeline().await.unwrap()
    }

    /// Waits until a timeline shows a text, decrypted.
    async fn is_shown(&self, timeline: &Timeline, body: &str) {
        self.until(body, || async {
            let items = timeline.items().await;
            let shown = |item: &_| -> bool {
                let item: &Arc<matrix_sdk_ui::timeline::TimelineItem> = item;
                item.as_event()
                    .and_then(|event| event.content().as_message())
                    .is_some_and(|message| message.body() == body)
            };
            items.iter().any(shown).then_some(())
        })
        .await;
    }
}

async fn say(timeline: &Timeline, body: &str) {
    timeline.send(RoomMessageEventContent::text_plain(body).into()).await.unwrap();
}

async fn encrypted_room(hanako: &Person, taro: &Person) -> OwnedRoomId {
    let mut request = CreateRoom::new();
    request.preset = Some(RoomPreset::PrivateChat);
    request.name = Some("避難所の調整".to_owned());
    request.invite = vec![taro.id()];
    let encryption = RoomEncryptionEventContent::with_recommended_defaults();
    request.initial_state = vec![InitialStateEvent::with_empty_state_key(encryption).to_raw_any()];
    let id = hanako.client.create_room(request).await.unwrap().room_id().to_owned();
    taro.room(&id, RoomState::Invited).await.join().await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_over_sliding_sync_and_restored_on_a_new_device() {
    let demo = tokio::task::spawn_blocking(Demo::start).await.unwrap();
    let account = |name: &str| {
        demo.account(&demo.ready.servers.iter().find(|server| server.name.contains(name)).unwrap().name)
    };
    let hanako = Person::log_in(account("kanazawa")).await;
    let taro = Person::log_in(account("wajima")).await;

    // Both have identities of their own.
    for person in [&hanako, &taro] {
        let status = person.client.encryption().cross_signing_status().await.unwrap();
        assert!(status.is_complete(), "{status:?}");
    }
    let recovery_key = hanako.client.encryption().recovery().enable().await.unwrap();

    let id = encrypted_room(&hanako, &taro).await;
    let (at_hanako, at_taro) = (hanako.timeline(&id).await, taro.timeline(&id).await);
    // She must know his device before she speaks, or he cannot read it.
    hanako
        .until("the other in the room", || async {
            let member = hanako.client.get_room(&id)?.get_member_no_sync(&taro.id()).await.ok()??;
            (member.membership() == &matrix_sdk::ruma::events::room::member::MembershipState::Join)
                .then_some(())
        })
        .await;
    say(&at_hanako, "毛布を百枚送ります").await;
    taro.is_shown(&at_taro, "毛布を百枚送ります").await;
    say(&at_taro, "受け取りました").await;
    hanako.is_shown(&at_hanako, "受け取りました").await;
    assert!(hanako.client.get_room(&id).unwrap().encryption_state().is_encrypted());

    // A new device has nothing but the recovery key, and reads what was said before it was there.
    hanako.client.encryption().backups().wait_for_steady_state().await.unwrap();
    let anew = Person::log_in(account("kanazawa")).await;
    anew.client.encryption().recovery().recover(&recovery_key).await.unwrap();
    let at_anew = anew.timeline(&id).await;
    at_anew.paginate_backwards(50).await.unwrap();
    for body in ["毛布を百枚送ります", "受け取りました"] {
        anew.is_shown(&at_anew, body).await;
    }
    let own = anew.client.encryption().get_own_device().await.unwrap().unwrap();
    assert!(own.is_verified_with_cross_signing());

    for person in [hanako, taro, anew] {
        person.sync.stop().await;
        person.client.matrix_auth().logout().await.unwrap();
    }
}
