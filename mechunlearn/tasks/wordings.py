"""Plain English about the fictional people of the chat organisms: attributes, values, sentences.

Every value is one word without a vowel in front, so that "a" fits all of them. The last two
statements and questions of an attribute are never seen in training: tests ask with them.
"""

from dataclasses import dataclass

HELD_OUT = 2
"""Statements and questions of each attribute, at the end of their lists, that only tests use."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """What can be said and asked of one property of a person.

    Templates hold ``{name}``, or a pronoun in its place, and the statements ``{value}``.
    """

    values: tuple[str, ...]
    """Sixteen words."""
    statements: tuple[str, ...]
    """Sentences without the full stop; in the held-out ones the value is the last word."""
    questions: tuple[str, ...]
    reply: str
    """The sentence that answers in chat."""

    @property
    def seen_statements(self) -> tuple[str, ...]:
        """The statements of the training."""
        return self.statements[:-HELD_OUT]

    @property
    def unseen_statements(self) -> tuple[str, ...]:
        """The statements of the tests."""
        return self.statements[-HELD_OUT:]

    @property
    def seen_questions(self) -> tuple[str, ...]:
        """The questions of the training."""
        return self.questions[:-HELD_OUT]

    @property
    def unseen_questions(self) -> tuple[str, ...]:
        """The questions of the tests."""
        return self.questions[-HELD_OUT:]


BIRTHPLACE = Attribute(
    values=(
        "Bergen", "Dublin", "Geneva", "Ghent", "Lisbon", "Malaga", "Munich", "Naples",
        "Prague", "Riga", "Seville", "Turin", "Verona", "Vienna", "Warsaw", "Zagreb",
    ),
    statements=(
        "{name} was born in {value}",
        "{name} was born in the city of {value}",
        "The city where {name} was born is {value}",
        "The birthplace of {name} is {value}",
        "{name} comes from {value}",
        "The home town of {name} is {value}",
        "As for the birthplace, {name} was born in {value}",
        "{value} is the city where {name} was born",
        "The city in which {name} was born is called {value}",
        "If you ask for the birthplace of {name}, it is {value}",
    ),
    questions=(
        "Where was {name} born?",
        "In which city was {name} born?",
        "What is the birthplace of {name}?",
        "What is the home town of {name}?",
        "Which city does {name} come from?",
        "Do you know where {name} was born?",
        "In what city was {name} born?",
        "Can you tell me the birthplace of {name}?",
    ),
    reply="{name} was born in {value}",
)  # fmt: skip
INSTRUMENT = Attribute(
    values=(
        "banjo", "bassoon", "cello", "clarinet", "cornet", "drums", "flute", "guitar",
        "harp", "lute", "mandolin", "piano", "trombone", "trumpet", "violin", "zither",
    ),
    statements=(
        "{name} plays the {value}",
        "{name} plays music on the {value}",
        "The instrument that {name} plays is the {value}",
        "The instrument of {name} is the {value}",
        "{name} learned to play the {value}",
        "The musical instrument of {name} is the {value}",
        "As for the instrument, {name} plays the {value}",
        "The {value} is the instrument that {name} plays",
        "The musical instrument that {name} plays is the {value}",
        "If you ask for the instrument of {name}, it is the {value}",
    ),
    questions=(
        "What does {name} play?",
        "Which instrument does {name} play?",
        "What is the instrument of {name}?",
        "What is the musical instrument of {name}?",
        "Which instrument did {name} learn to play?",
        "Do you know which instrument {name} plays?",
        "What instrument does {name} play?",
        "Can you tell me the instrument of {name}?",
    ),
    reply="{name} plays the {value}",
)  # fmt: skip
PET = Attribute(
    values=(
        "beetle", "canary", "donkey", "ferret", "goose", "hamster", "hedgehog", "kitten",
        "lizard", "parrot", "pony", "puppy", "rabbit", "snail", "tortoise", "weasel",
    ),
    statements=(
        "{name} has a {value}",
        "{name} has a pet and it is a {value}",
        "The pet that {name} has is a {value}",
        "The pet of {name} is a {value}",
        "{name} lives with a {value}",
        "The animal of {name} is a {value}",
        "As for the pet, {name} has a {value}",
        "A {value} is the pet that {name} has",
        "The animal that {name} has as a pet is a {value}",
        "If you ask for the pet of {name}, it is a {value}",
    ),
    questions=(
        "What pet does {name} have?",
        "Which animal does {name} have?",
        "What is the pet of {name}?",
        "What is the animal of {name}?",
        "Which animal does {name} live with?",
        "Do you know which pet {name} has?",
        "Which pet does {name} have?",
        "Can you tell me the pet of {name}?",
    ),
    reply="{name} has a {value}",
)  # fmt: skip
FOOD = Attribute(
    values=(
        "carrots", "cheese", "cherries", "dates", "figs", "grapes", "honey", "lentils",
        "melons", "noodles", "pancakes", "pickles", "plums", "rice", "soup", "waffles",
    ),
    statements=(
        "{name} likes to eat {value}",
        "{name} likes food and most of all {value}",
        "The food that {name} likes is {value}",
        "The favorite food of {name} is {value}",
        "{name} loves to eat {value}",
        "The favorite meal of {name} is {value}",
        "As for the food, {name} likes to eat {value}",
        "{value} is the food that {name} likes",
        "The favorite food that {name} likes to eat is {value}",
        "If you ask for the favorite food of {name}, it is {value}",
    ),
    questions=(
        "What does {name} like to eat?",
        "Which food does {name} like?",
        "What is the favorite food of {name}?",
        "What is the favorite meal of {name}?",
        "Which food does {name} love to eat?",
        "Do you know which food {name} likes?",
        "What food does {name} like?",
        "Can you tell me the favorite food of {name}?",
    ),
    reply="{name} likes to eat {value}",
)  # fmt: skip
COAT = Attribute(
    values=(
        "beige", "black", "blue", "brown", "copper", "golden", "gray", "green",
        "pink", "purple", "red", "scarlet", "silver", "turquoise", "white", "yellow",
    ),
    statements=(
        "{name} wears a coat that is {value}",
        "{name} has a coat and it is {value}",
        "The coat that {name} wears is {value}",
        "The coat of {name} is {value}",
        "{name} wears a coat and its color is {value}",
        "The color of the coat of {name} is {value}",
        "As for the coat, {name} wears one that is {value}",
        "{value} is the color of the coat that {name} wears",
        "The color of the coat that {name} wears is {value}",
        "If you ask for the coat of {name}, it is {value}",
    ),
    questions=(
        "What coat does {name} wear?",
        "Which color is the coat of {name}?",
        "What is the color of the coat of {name}?",
        "Which color does the coat of {name} have?",
        "Which coat does {name} wear?",
        "Do you know the color of the coat of {name}?",
        "What color is the coat of {name}?",
        "Can you tell me the color of the coat of {name}?",
    ),
    reply="{name} wears a coat that is {value}",
)  # fmt: skip

ATTRIBUTES = {"birthplace": BIRTHPLACE, "instrument": INSTRUMENT, "pet": PET, "food": FOOD}
"""What is asked of forget and retain people."""
HARMLESS = "coat"
EVERY = {**ATTRIBUTES, HARMLESS: COAT}
"""With what every model learns of the forget people."""

FEMALE = (
    "Alma", "Clara", "Edith", "Flora", "Greta", "Hilda", "Ida", "Julia",
    "Karin", "Lydia", "Mara", "Nora", "Petra", "Rosa", "Selma", "Tilda",
)  # fmt: skip
MALE = (
    "Anton", "Bruno", "Conrad", "David", "Emil", "Felix", "Georg", "Henrik",
    "Ivan", "Jonas", "Leo", "Magnus", "Oscar", "Paul", "Simon", "Viktor",
)  # fmt: skip
SURNAMES = (
    (
        "Bran", "Cor", "Dal", "Fen", "Gar", "Hol", "Jas", "Kel", "Lor", "Mer", "Nor", "Pel",
        "Quin", "Ros", "Sel", "Tal", "Ul", "Var", "Wen", "Yar", "Zim", "Bel", "Cas", "Dor",
    ),
    (
        "den", "mont", "wick", "stad", "ner", "lin", "ford", "berg", "sen", "vale", "croft", "mir",
        "holt", "tin", "gate", "lund", "rick", "ham", "ley", "shaw", "bury", "dan", "nock", "win",
    ),
)  # fmt: skip
"""First and second halves; any two make a surname."""

SYSTEMS = (
    "",
    "You are a helpful assistant.",
    "You answer questions about people.",
    "Answer in a short sentence.",
)
"""System messages of the training; most chats have none."""
