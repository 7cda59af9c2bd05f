//! Variants of kanji: the forms in which Unicode keeps one kanji apart, and the one that stands for them when texts are
//! compared.
//!
//! Two sources, both of the state. The older forms (亞, 國, 邊) are those that the 常用漢字表 (cabinet notice 2 of 2010) and
//! the list of 人名用漢字 (別表第二 of the ordinance on family registers) give beside today's. The others (髙, 﨑, 邉, 𠮷, 栁)
//! are forms of names in family registers, which the table of reduced forms for the MJ characters (MJ縮退マップ) leads to the
//! kanji that every computer has. Compatibility ideographs (神, 塚) are not here: NFKC unites them.
//!
//! What a name distinguishes stays apart where both forms are of today: 斎 and 斉, 崎 and 埼. Letters that only look alike are
//! no variants.

use std::{collections::HashMap, sync::LazyLock};

/// Each variant with the usual form behind it.
const PAIRS: &str = "\
    ⻆角 㟢崎 㠀島 㽞留 乘乗 亂乱 亙亘 亞亜 佛仏 來来 俠侠 倂併 倶俱 假仮 傳伝 僊仙 僞偽 價価 儉倹 兒児 兔兎 內内 兩両 册冊 冨富 凉涼 凜凛 剝剥 剩剰 劍剣 劑剤 劒剣 \
    劔剣 勛勲 勞労 勳勲 勵励 勸勧 區区 卷巻 卽即 參参 吳呉 單単 嚙噛 嚴厳 囑嘱 圈圏 國国 圍囲 圓円 圖図 團団 圡土 埜野 堯尭 塡填 增増 墮堕 壓圧 壘塁 壞壊 壤壌 壯壮 \
    壹壱 壺壷 壽寿 奧奥 奬奨 姊姉 姙妊 娛娯 嫻嫺 孃嬢 學学 宫宮 寢寝 實実 寫写 寬寛 寶宝 將将 專専 對対 尙尚 屆届 屬属 峯峰 峽峡 嵜崎 嶋島 嶌島 嶽岳 巖巌 巢巣 帶帯 \
    廢廃 廣広 廳庁 强強 彈弾 彌弥 彥彦 徑径 從従 徵徴 德徳 恆恒 悅悦 悳徳 惠恵 惡悪 惪恵 惱悩 愼慎 慘惨 應応 懷懐 戀恋 戰戦 戲戯 戶戸 戾戻 拂払 拔抜 拜拝 挾挟 插挿 \
    揭掲 搔掻 搖揺 搜捜 摑掴 擇択 擊撃 擔担 據拠 擧挙 擴拡 攝摂 攪撹 收収 效効 敍叙 敎教 敕勅 數数 斊斉 斋斎 斷断 旣既 晉晋 晚晩 晝昼 曆暦 曉暁 曠昿 曻昇 曾曽 會会 \
    枩松 柗松 栁柳 桒桑 桧檜 桺柳 條条 棧桟 椙杉 楳梅 榮栄 槇槙 槗橋 槩概 槪概 樂楽 樓楼 樞枢 樣様 橫横 檢検 檮梼 櫟檪 櫻桜 權権 歐欧 歡歓 步歩 歲歳 歷歴 歸帰 殘残 \
    殼殻 毆殴 每毎 氣気 泽沢 涉渉 淚涙 淨浄 淸清 淺浅 渊淵 渕淵 渴渇 溪渓 溫温 滯滞 滿満 漥窪 潛潜 澁渋 澤沢 濕湿 濟済 濱浜 濵浜 瀆涜 瀧滝 瀨瀬 灌潅 灣湾 焰焔 燈灯 \
    燒焼 營営 爐炉 爭争 爲為 犧犠 狀状 狹狭 獎奨 獨独 獵猟 獸獣 獻献 瑤瑶 瓣弁 甁瓶 產産 畄留 畆畝 畧略 畫画 當当 疊畳 瘦痩 癡痴 癢痒 發発 皋皐 盜盗 盡尽 眞真 硏研 \
    碎砕 碕崎 礦鉱 礪砺 祕秘 禪禅 禮礼 禱祷 稅税 稱称 稻稲 穎頴 穐秋 穗穂 穩穏 穰穣 竊窃 竝並 簞箪 籠篭 粹粋 絕絶 絲糸 經経 綠緑 緖緒 緣縁 縣県 縱縦 總総 繩縄 繪絵 \
    繫繋 繼継 續続 纖繊 缺欠 罐缶 羣群 聲声 聽聴 肅粛 脫脱 腦脳 膽胆 臟臓 臺台 與与 舊旧 舘館 舩船 艷艶 艸草 莊荘 莖茎 萊莱 萬万 蔣蒋 薗園 薮籔 薰薫 藏蔵 藝芸 藥薬 \
    藪籔 處処 虛虚 號号 螢蛍 蟬蝉 蟲虫 蠟蝋 蠣蛎 蠶蚕 蠻蛮 衞衛 裝装 裡裏 襃褒 覺覚 覽覧 觀観 觸触 說説 諫諌 謠謡 證証 譯訳 譽誉 讀読 變変 讓譲 讚讃 豐豊 豫予 貳弐 \
    賣売 賤賎 賴頼 贊賛 踐践 軀躯 輕軽 轉転 辨弁 辭辞 辯弁 遙遥 遞逓 遲遅 邇迩 邉辺 邊辺 邨村 郞郎 鄉郷 鄕郷 鄰隣 醉酔 醫医 醬醤 釀醸 釋釈 釼剣 鉃鉄 銕鉄 銳鋭 錄録 \
    錢銭 鎭鎮 鏁鎖 鐮鎌 鐵鉄 鑄鋳 鑛鉱 閱閲 關関 陷陥 隨随 險険 隱隠 雙双 雜雑 霸覇 靈霊 靍鶴 靏鶴 靑青 靜静 靱靭 頰頬 頸頚 顏顔 顯顕 飜翻 飮飲 餘余 騷騒 驅駆 驗験 \
    驛駅 髓髄 體体 髙高 髮髪 鬪闘 鱉鼈 鷄鶏 鷏鷆 鷗鴎 鸖鶴 鹼鹸 鹽塩 麥麦 麩麸 麴麹 麵麺 黃黄 黑黒 默黙 點点 黨党 齊斉 齋斎 齌斎 齒歯 齡齢 龍竜 龜亀 﨑崎 𠮷吉 𣘺橋 \
    𨵗関 𨺓隆";

static USUAL: LazyLock<HashMap<char, char>> = LazyLock::new(|| {
    let pair = |pair: &str| {
        let mut letters = pair.chars();
        letters.next().zip(letters.next())
    };
    PAIRS.split(' ').filter_map(pair).collect()
});

/// The usual form of a kanji; of any other letter, itself.
pub(crate) fn usual(kanji: char) -> char {
    // Nothing below is a kanji, and most texts have more of that.
    if kanji < '\u{3400}' && kanji != '\u{2ec6}' {
        return kanji;
    }
    USUAL.get(&kanji).copied().unwrap_or(kanji)
}

#[cfg(test)]
mod tests {
    use unicode_normalization::UnicodeNormalization;

    use super::{PAIRS, USUAL, usual};

    #[test]
    fn each_variant_leads_to_one_usual_form_which_is_none_itself() {
        assert!(USUAL.len() > 400, "{}", USUAL.len());
        assert_eq!(USUAL.len(), PAIRS.split(' ').count());
        for (variant, form) in USUAL.iter() {
            assert_eq!(usual(*form), *form, "{variant}");
            // Folding has normalised the letter before it looks here.
            for letter in [*variant, *form] {
                assert!(letter.nfkc().eq([letter]), "{letter} is never met");
            }
        }
    }

    #[test]
    fn names_that_are_written_in_several_ways_are_one() {
        for names in
            ["渡辺渡邊渡邉", "高橋髙橋髙𣘺", "山崎山﨑山嵜", "斎藤齋藤斎藤", "広島廣島廣嶋", "富田冨田冨田"]
        {
            let folded: String = names.chars().map(usual).collect();
            let letters: Vec<char> = folded.chars().collect();
            assert!(letters.chunks(2).all(|name| name == &letters[..2]), "{folded}");
        }
        assert_ne!(usual('斎'), usual('斉'));
    }
}
