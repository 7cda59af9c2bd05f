//! Who takes part in the demonstration and what they say.

/// A server of the demonstration.
pub(super) struct Town {
    /// Its server name.
    pub(super) name: &'static str,
    /// What people call it.
    pub(super) title: &'static str,
    /// Its directory.
    pub(super) directory: &'static str,
    /// Whether its clients reach it from LGWAN and from the internet.
    pub(super) has_zones: bool,
}

/// Somebody with an account.
pub(super) struct Person {
    /// Which of [`TOWNS`] the account is of.
    pub(super) town: usize,
    pub(super) localpart: &'static str,
    pub(super) display_name: &'static str,
    /// What the person says first.
    pub(super) words: &'static str,
}

pub(super) const TOWNS: [Town; 3] = [
    Town { name: "ishikawa.test", title: "石川県", directory: "ishikawa", has_zones: false },
    Town { name: "kanazawa.test", title: "金沢市", directory: "kanazawa", has_zones: true },
    Town { name: "wajima.test", title: "輪島市", directory: "wajima", has_zones: false },
];

/// The first one makes the room and invites the others.
pub(super) const PEOPLE: [Person; 6] = [
    Person {
        town: 0,
        localpart: "hanako",
        display_name: "石川 花子（石川県 危機対策課）",
        words: "石川県災害対策本部を設置しました。各市町は被害状況をこの部屋に報告してください。",
    },
    Person {
        town: 0,
        localpart: "ichiro",
        display_name: "能登 一郎（石川県 土木部）",
        words: "国道249号は一部区間で通行止めです。迂回路は県道1号を利用してください。",
    },
    Person {
        town: 1,
        localpart: "taro",
        display_name: "金沢 太郎（金沢市 危機管理課）",
        words: "金沢市です。市内の避難所12か所を開設しました。給水車2台を派遣できます。",
    },
    Person {
        town: 1,
        localpart: "sakura",
        display_name: "犀川 さくら（金沢市 福祉政策課）",
        words: "福祉避難所の受け入れは40名まで可能です。",
    },
    Person {
        town: 2,
        localpart: "jiro",
        display_name: "輪島 次郎（輪島市 防災対策課）",
        words: "輪島市です。河井町で断水しています。給水車の派遣をお願いします。",
    },
    Person {
        town: 2,
        localpart: "midori",
        display_name: "町野 みどり（輪島市 健康推進課）",
        words: "門前町の避難所に保健師1名を派遣しました。",
    },
];

pub(super) const ROOM_NAME: &str = "石川県 災害連絡";
pub(super) const ROOM_TOPIC: &str = "県と市町の災害時連絡（デモ）";

/// A personnel file of one of [`TOWNS`], with the day as of which it speaks.
pub(super) struct PersonnelFile {
    pub(super) day: &'static str,
    pub(super) rows: &'static str,
}

/// Which of [`TOWNS`] has its organisation in the demonstration.
pub(super) const ORGANISED: usize = 0;

/// Who administers it, of [`PEOPLE`].
pub(super) const CHIEF: &str = "hanako";

/// Who sees to its people (人事担当).
pub(super) const OFFICER: &str = "ichiro";

/// What is its only body called.
pub(super) const BODY: &str = "知事部局";

/// Two months: in the second one somebody moves and somebody comes.
pub(super) const PERSONNEL: [PersonnelFile; 2] = [
    PersonnelFile {
        day: "2026-04-01",
        rows: "\
職員番号,氏名,フリガナ,所属,職名,兼務,発令日,アカウント名
00101,石川 花子,イシカワ ハナコ,危機管理監室　危機対策課,課長,,R6.4.1,hanako
00102,髙橋 健,タカハシ ケン,危機管理監室　危機対策課,主査,,R7.4.1,
00201,能登 一郎,ノト イチロウ,土木部　道路整備課,課長,,R5.4.1,ichiro
00202,加賀 美咲,カガ ミサキ,土木部　道路整備課,主事,,R8.4.1,
00202,加賀 美咲,カガ ミサキ,危機管理監室　危機対策課,主事,兼務,R8.4.1,
00301,白山 誠,ハクサン マコト,健康福祉部　医療対策課,課長,,H31.4.1,
",
    },
    PersonnelFile {
        day: "2026-05-01",
        rows: "\
職員番号,氏名,フリガナ,所属,職名,兼務,発令日,アカウント名
00101,石川 花子,イシカワ ハナコ,危機管理監室　危機対策課,課長,,R6.4.1,hanako
00102,髙橋 健,タカハシ ケン,土木部　道路整備課,係長,,R8.5.1,
00201,能登 一郎,ノト イチロウ,土木部　道路整備課,課長,,R5.4.1,ichiro
00202,加賀 美咲,カガ ミサキ,土木部　道路整備課,主事,,R8.4.1,
00202,加賀 美咲,カガ ミサキ,危機管理監室　危機対策課,主事,兼務,R8.4.1,
00301,白山 誠,ハクサン マコト,健康福祉部　医療対策課,課長,,H31.4.1,
00302,珠洲 ひかり,スズ ヒカリ,健康福祉部　医療対策課,主事,,R8.5.1,
",
    },
];

/// Of [`PEOPLE`], who sits at the desk of the town that stands in both networks; the first one makes its room.
pub(super) const CLERKS: [usize; 2] = [2, 3];

pub(super) const DESK_ALIAS: &str = "madoguchi";
pub(super) const DESK_NAME: &str = "金沢市 窓口";
pub(super) const DESK_TOPIC: &str = "市民や業者から届くファイルと通報（デモ）";

/// What makes the drop link, as a clerk writes it.
pub(super) const DROP_COMMAND: &str = "!受取 工事写真 期限 7日";

/// What a form reports.
pub(super) const REPORT: &str = r#"{
  "id": "R-1",
  "title": "道路の陥没",
  "text": "直径30cmほどの穴があります。車が避けて通っています。",
  "place": { "latitude": 36.5611, "longitude": 136.6564, "address": "金沢市片町1丁目" }
}
"#;
