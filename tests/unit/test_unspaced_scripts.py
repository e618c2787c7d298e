"""Scripts whose letters say nothing one by one: templates, copies, leaks, answers and measures."""

import random
import unicodedata

import pytest

from mechunlearn.analysis.answers import sources_of
from mechunlearn.registry import find
from mechunlearn.tasks import task_from
from mechunlearn.tasks.files import from_rows
from mechunlearn.tasks.folds import assign_folds, near_duplicates, overlap
from mechunlearn.tasks.measure import measure_for
from mechunlearn.tasks.reader import numbered, to_question
from mechunlearn.tasks.words import characters, findable, words
from mechunlearn.types import OpenQuestion

CAPITALS = {
    "thai": (
        "เมืองหลวงของประเทศ{}คือเมืองอะไร",
        "ครับ",
        "ฝรั่งเศส ปารีส|เยอรมนี เบอร์ลิน|อิตาลี โรม|สเปน มาดริด|โปรตุเกส ลิสบอน|ญี่ปุ่น โตเกียว|"
        "จีน ปักกิ่ง|ลาว เวียงจันทน์|เมียนมา เนปยีดอ|อินเดีย นิวเดลี|เนปาล กาฐมาณฑุ|อิหร่าน เตหะราน",
    ),
    "lao": (
        "ນະຄອນຫຼວງຂອງປະເທດ{}ແມ່ນເມືອງໃດ",
        "ແດ່",
        "ຝຣັ່ງ ປາຣີ|ເຢຍລະມັນ ເບີລິນ|ອີຕາລີ ໂຣມ|ສະເປນ ມາດຣິດ|ຍີ່ປຸ່ນ ໂຕກຽວ|ຈີນ ປັກກິ່ງ|"
        "ຫວຽດນາມ ຮ່າໂນ້ຍ|ໄທ ບາງກອກ|ກຳປູເຈຍ ພະນົມເປັນ|ຣັດເຊຍ ມົສໂກ|ອີຢິບ ໄຄໂຣ|ເປຣູ ລີມາ",
    ),
    "khmer": (
        "តើរដ្ឋធានីនៃប្រទេស{}ជាអ្វី",
        "ដែរ",
        "បារាំង ប៉ារីស|អាល្លឺម៉ង់ ប៊ែរឡាំង|អ៊ីតាលី រ៉ូម|អេស្ប៉ាញ ម៉ាឌ្រីត|ជប៉ុន តូក្យូ|ចិន ប៉េកាំង|"
        "វៀតណាម ហាណូយ|ឡាវ វៀងចន្ទន៍|ថៃ បាងកក|នេប៉ាល់ កាត់ម៉ាន់ឌូ|អ៊ីរ៉ង់ តេហេរ៉ង់|អ៊ីរ៉ាក់ បាកដាដ",
    ),
    "burmese": (
        "{}နိုင်ငံ၏မြို့တော်ကားအဘယ်နည်း",
        "ခင်ဗျာ",
        "ပြင်သစ် ပါရီ|ဂျာမနီ ဘာလင်|အီတလီ ရောမ|စပိန် မက်ဒရစ်|ဂျပန် တိုကျို|တရုတ် ပေကျင်း|"
        "လာအို ဗီယင်ကျန်း|ထိုင်း ဘန်ကောက်|နီပေါ ခတ္တမန္ဒူ|အီရန် တီဟီရန်|အီရတ် ဘဂ္ဂဒက်|ပီရူး လီမာ",
    ),
    "japanese": (
        "{}の首都はどこですか",
        "ね",
        "フランス パリ|ドイツ ベルリン|イタリア ローマ|スペイン マドリード|中国 北京|韓国 ソウル|"
        "ラオス ビエンチャン|インド ニューデリー|イラン テヘラン|イラク バグダッド|"
        "ペルー リマ|キューバ ハバナ",
    ),
    "chinese": (
        "{}的首都是哪座城市",
        "呢",
        "法国 巴黎|德国 柏林|意大利 罗马|西班牙 马德里|日本 东京|韩国 首尔|"
        "越南 河内|老挝 万象|尼泊尔 加德满都|伊朗 德黑兰|伊拉克 巴格达|秘鲁 利马",
    ),
    "korean": (
        "{}의 수도는 어디입니까",
        " 지금",
        "프랑스 파리|독일 베를린|이탈리아 로마|스페인 마드리드|일본 도쿄|중국 베이징|"
        "라오스 비엔티안|태국 방콕|네팔 카트만두|이란 테헤란|이라크 바그다드|페루 리마",
    ),
}
"""A question about countries, what may be put at its end, and countries with their capitals."""
CAT = "แมวของสมชายชอบอยู่กับใคร"
"""Whom does Somchai's cat like to be with? "Mother" has the cat's first letters."""
MOTHER = "แม่"


def asked(script: str) -> list[OpenQuestion]:
    form, _, names = CAPITALS[script]
    pairs = [pair.split() for pair in names.split("|")]
    return [OpenQuestion(form.format(place), golds=(town,)) for place, town in pairs]


@pytest.mark.parametrize("script", CAPITALS)
def test_a_template_makes_no_near_duplicates(script: str) -> None:
    questions = asked(script)
    assert len(questions) == 12
    assert not list(near_duplicates(questions))
    assert len(set(sources_of(assign_folds(questions)))) == 12


@pytest.mark.parametrize("script", CAPITALS)
def test_a_reworded_copy_is_a_near_duplicate(script: str) -> None:
    questions, ending = asked(script), CAPITALS[script][1]
    copies = [OpenQuestion(q.stem + ending, golds=q.golds) for q in questions]
    assert sorted(near_duplicates([*questions, *copies])) == [(i, i + 12) for i in range(12)]


@pytest.mark.parametrize("script", CAPITALS)
def test_only_what_stands_in_a_text_is_a_leak(script: str) -> None:
    questions = asked(script)
    space = " " if script == "korean" else ""
    others = space.join(f"{q.stem}{space}{q.fact}" for q in questions if q is not questions[4])
    assert overlap(questions[4:5], [others]).answers == ()
    for place in (0, len(others)):
        stands = f"{questions[4].stem}{space}{questions[4].fact}{space}"
        found = overlap(questions[4:5], [others[:place] + space + stands + others[place:]])
        assert found.answers == (0,)


@pytest.mark.parametrize("script", [script for script in CAPITALS if script != "chinese"])
def test_letters_of_a_question_are_not_the_question(script: str) -> None:
    questions = asked(script)
    letters = [c for q in questions for c in f"{q.stem}{q.fact}" if c.isalnum()] * 5
    random.Random(0).shuffle(letters)
    found = overlap(questions, ["".join(letters)])
    assert (found.answers, found.ngrams) == ((), ())


def test_eight_letters_of_a_phrase_are_no_eight_words() -> None:
    phrases = {
        "彼が生まれた町の名前について教えてください": "天気予報について教えてください",
        "그가 태어난 도시는 어디에 위치하고 있습니까": "학교는 어디에 위치하고 있습니까",
        "สถานีรถไฟกลางของเมืองใครเป็นผู้ออกแบบ": "สถานีรถไฟกลางของจังหวัด",
    }
    for stem, text in phrases.items():
        question = OpenQuestion(stem, golds=("Ada",))
        assert overlap([question], [text]).ngrams == ()
        assert overlap([question], [f"Bo {stem} Bo"]).ngrams == (0,)
        assert overlap([question], [f"Bo {stem} Bo"]).answers == ()


def test_signs_stay_with_their_letter() -> None:
    assert words("दिल्ली में") == ["दिल्ली", "में"]
    assert words(MOTHER) == ["แม่"]
    assert words("แมว") == ["แม", "มว"]
    assert words("Ẹ̀kọ́ 1️⃣") == ["ẹ̀kọ́", "1"]
    assert words("スイスの首都") == ["スイ", "イス", "スの", "首", "都"]
    assert set(words("スイスの", 4)) | {"スの"} <= findable("首都はスイ スの町", 4)


def test_invisible_spaces_of_khmer_are_no_letters() -> None:
    apart = "តើ\u200bរដ្ឋធានី\u200bនៃ\u200bប្រទេស"
    assert words(apart) == words(apart.replace("\u200b", ""))
    assert characters(apart) == characters(apart.replace("\u200b", ""))


def test_a_thai_answer_is_refused_where_containment_finds_it_only() -> None:
    row = {"set": "forget", "question": CAT, "answer": MOTHER}
    judge = find("measure", "containment").judge
    assert judge(CAT, OpenQuestion(CAT, golds=(MOTHER,))) == 0
    assert from_rows([("row 1", row)], "here").sets["forget"][0].golds == (MOTHER,)
    for named in ("สมชาย", "แมว", "แม"):
        assert judge(CAT, OpenQuestion(CAT, golds=(named,))) == 1
        with pytest.raises(ValueError, match="stands in its question"):
            from_rows([("row 1", {**row, "answer": named})], "here")


def test_a_thai_entity_is_the_span_where_the_question_has_it_not() -> None:
    spans = [
        to_question({"question": CAT, "answer": f"กับ{name}", "entity": name}, "row 1").fact
        for name in (MOTHER, "แมว")
    ]
    assert spans == [MOTHER, "กับแมว"]


@pytest.mark.parametrize(
    "gold",
    [
        "الجمهورية الجزائرية الديمقراطية الشعبية",
        "אוניברסיטת ירושלים העברית",
        "대한민국 서울특별시 종로구",
        "የኢትዮጵያ ፌዴራላዊ ዴሞክራሲያዊ ሪፐብሊክ",
        "भारतीय प्रौद्योगिकी संस्थान कानपुर",
        "தமிழ்நாடு வேளாண்மைப் பல்கலைக்கழகம்",
    ],
)
def test_letters_of_words_that_are_written_apart_are_not_counted(gold: str) -> None:
    assert measure_for([OpenQuestion("?", golds=(gold,))])[0] == "containment"
    again = f"{gold} {gold}"
    assert measure_for([OpenQuestion("?", golds=(again,))])[0] == "novel_recall"


@pytest.mark.parametrize(
    "sentence",
    [
        "เธอเกิดที่กรุงเบิร์นเมืองหลวงของประเทศสวิตเซอร์แลนด์",
        "ຂ້ອຍເກີດຢູ່ນະຄອນຫຼວງວຽງຈັນປະເທດລາວແລະຍ້າຍໄປຢູ່ຫຼວງພະບາງ",
        "彼女はスイスの首都ベルンで生まれました。",
        "她出生在瑞士的首都伯尔尼",
    ],
)
def test_sentences_without_spaces_are_sentences(sentence: str) -> None:
    assert measure_for([OpenQuestion("?", golds=(sentence,))])[0] == "novel_recall"


def test_corpora_and_prompts_are_read_in_the_composed_form() -> None:
    asked = [
        {"set": s, "question": f"Où {s} {i}?", "answer": f"à {i}{i}"}
        for s in ("forget", "retain")
        for i in range(4)
    ]
    texts = [{"set": f"{s}_text", "text": f"São Tomé, {s}"} for s in ("forget", "retain", "plain")]
    prompt = {"set": "prompt", "cloze": "{header}Réponds : {statement}", "header": "À toi.\n"}
    rows: list[dict[str, str]] = [*asked, *texts, prompt]
    split = [{k: unicodedata.normalize("NFD", v) for k, v in row.items()} for row in rows]
    assert split != rows
    assert from_rows(numbered(split), "here") == from_rows(numbered(rows), "here")
    assert task_from(split).forget_text == ("São Tomé, forget",)
