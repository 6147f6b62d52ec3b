"""The shape of ``pilot.yaml``. Meaning across keys (names, types of expressions) is checked in `check`."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, WithJsonSchema

from flightworthy.ground.clock import duration


def _percent(value: Any) -> Any:
    if isinstance(value, str) and value.endswith("%"):
        try:
            return float(Decimal(value[:-1].strip()) / 100)
        except ArithmeticError:
            pass
    raise ValueError("write a percentage such as 10%")


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("write a duration with its unit, such as 7d or 40ms")
    return duration(value)


def _decimal(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Word = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]
Title = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Duration = Annotated[int, BeforeValidator(_duration), Field(ge=0),
                     WithJsonSchema({"type": "string", "examples": ["7d", "40ms"]})]
Percent = Annotated[float, BeforeValidator(_percent), Field(ge=0, le=1),
                    WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+ *%$"})]
Number = Annotated[Decimal, BeforeValidator(_decimal), WithJsonSchema({"type": "number"})]
Expression = Annotated[str, BeforeValidator(lambda v: str(v).lower() if isinstance(v, bool) else
                                            (str(v) if isinstance(v, int | float) else v)),
                       WithJsonSchema({"type": ["string", "number", "boolean"]})]
Words = Annotated[list[str], BeforeValidator(_one_or_many),
                  WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})]


class Section(BaseModel):
    """Every section refuses unknown keys and cannot change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldSpec(Section):
    """One field of an event."""

    type: Literal["text", "integer", "number", "decimal", "boolean", "category", "time"] = Field(
        description="decimal: exact, with `scale` digits after the point; time: RFC 3339, or a number with `unit`")
    nullable: bool = Field(False, description="may be null or absent")
    min: Number | None = Field(None, description="smallest value allowed")
    max: Number | None = Field(None, description="largest value allowed")
    scale: int | None = Field(None, ge=0, le=6, description="digits after the point of a decimal (default 2)")
    values: list[str] | None = Field(None, min_length=1, max_length=1000, description="words of a category, in order")
    pattern: str | None = Field(None, max_length=500, description="regular expression a text must match as a whole")
    max_length: int | None = Field(None, ge=1, le=65536, description="characters of a text (default 256)")
    unit: Duration | None = Field(None, description="a time given as a number counts this unit since `origin`")
    origin: str | None = Field(None, description="RFC 3339 instant where a numeric time starts (default 1970)")
    assume_utc: bool = Field(False, description="a time without offset is read as UTC instead of refused")
    columns: Words = Field(default_factory=list, description="other names this field has in files, tried in order")


class Events(Section):
    """What asks for a decision."""

    id: Word = Field(description="field with the unique id; the same id always gets the same decision")
    time: Word = Field(description="field with the event time")
    entities: dict[Word, Word] = Field(description="who or what the event is about: name → field")
    fields: dict[Word, FieldSpec] = Field(min_length=1, max_length=500, description="the contract")
    lateness: Duration = Field(0, description="how far an event may lie behind the newest one before quarantine")
    future: Duration = Field(86_400_000_000, description="how far an event time may lie ahead of its arrival (default 1d)")
    unknown_fields: Literal["refuse", "ignore"] = Field("refuse", description="what to do with fields not listed")
    max_bytes: int = Field(65536, ge=64, le=1 << 24, description="largest raw record")


class Outcomes(Section):
    """The truth, which arrives later."""

    label: Word = Field(description="name of the outcome in expressions")
    type: Literal["boolean", "number"] = Field(description="type of the label")
    delay: Duration = Field(description="time after the event until the label is normally known")
    horizon: Duration | None = Field(None, description="time after which a label is final (default: delay)")
    absent: StrictBool | Number | None = Field(None, description="value when no label arrives by the delay; unset: unknown")
    columns: Words = Field(default_factory=list, description="other names of the label in files")
    known_at: str | None = Field(None, description="column with the time a label became known, in history files")
    hidden_by: list[str] = Field(default_factory=list, description="actions after which the truth is never told")


class Group(Section):
    """Features of one entity (or pair, or everything together) over windows of event time."""

    by: Words | None = Field(None, description="entities of the key (default: the group's name); [] = all events")
    windows: list[str] = Field(default_factory=list, max_length=32, description="such as 1h, 7d, '10 events'")
    delay: Duration = Field(0, description="windows end this long before the event")
    aggregate: dict[Word, str] = Field(min_length=1, description="name → count() sum mean min max std distinct last "
                                       "of a field, since_last() and age() in seconds")
    limit: int = Field(8192, ge=16, le=1 << 24, description="newest events kept per entity; a power of two")


class Features(Section):
    """One definition for training, batches and single events."""

    groups: dict[Word, Group] = Field(default_factory=dict)
    derived: dict[Word, Expression] = Field(default_factory=dict, description="expressions over fields and features")


class Split(Section):
    """What is held back to judge the model."""

    by: str = Field("time", description="time: the newest part; or an entity: some of them, whole")
    share: Percent = Field(0.2, description="part held back")


class Train(Section):
    """Which past decisions the model learns from."""

    history: Duration | None = Field(None, description="how far back; unset: everything")
    split: Split = Field(default_factory=Split)
    refit: bool = Field(True, description="after judging, fit once more on everything")


class Model(Section):
    """The model, trained from this manifest."""

    flavour: str = Field("lightgbm", description="lightgbm, or python:FILE.py:CLASS in the pilot's folder")
    objective: Literal["binary", "regression"] = Field("binary")
    target: Expression | None = Field(None, description="expression over the label (default: the label itself)")
    inputs: list[str] | None = Field(None, description="features and fields it sees (default: all features, and the "
                                     "numeric fields that are neither id, time nor entity)")
    rounds: int = Field(200, ge=1, le=20000, description="trees")
    params: dict[str, int | float | str | bool] = Field(default_factory=dict, description="passed to the flavour")
    interval: Percent | None = Field(None, description="coverage of the interval `low`..`high` around a regression")
    seed: int = Field(0, ge=0)
    train: Train = Field(default_factory=Train)


class Rule(Section):
    """One line of a policy; the first whose condition is true decides."""

    if_: Expression | None = Field(None, alias="if", description="condition; the last rule has none")
    then: Word = Field(description="action")
    quantity: Expression | None = Field(None, description="a number that belongs to the action")


class Policy(Section):
    """From scores to an action."""

    actions: list[Word] = Field(min_length=2, max_length=50, description="everything that can be answered")
    adverse: list[Word] = Field(default_factory=list, description="actions that owe the person reasons")
    rules: list[Rule] = Field(min_length=1, description="may use fields, features and model outputs")
    baseline: list[Rule] = Field(min_length=1, description="what happens without a model; the control group's policy")
    fallback: list[Literal["previous", "baseline"] | Rule] = Field(
        default=["baseline"], description="tried in order when the champion gives no usable output")


class ReasonSpec(Section):
    """One reason that can be told to a person."""

    features: list[str] = Field(min_length=1, description="features and fields this reason stands for")
    say: str = Field(max_length=300, description="the words")


class Governance(Section):
    """What must be explained."""

    reasons: dict[Word, ReasonSpec] = Field(default_factory=dict, description="code → features and words")
    max_reasons: int = Field(4, ge=1, le=20)


class Privacy(Section):
    """Whom the events are about, and what is kept of them."""

    subject: Word = Field(description="entity that is a person; its field is always pseudonymised")
    fields: dict[Word, Literal["clear", "pseudonymise", "encrypt", "drop"]] = Field(
        default_factory=dict, description="how a field is stored (default clear); encrypt: under the person's own key")
    purpose: Word = Field("decision", description="what decisions are for; consent is given for a purpose")
    without_consent: Literal["baseline", "default", "refuse"] | None = Field(
        None, description="who decides for a person without consent, or quarantine; unset: consent is not asked for")
    retention: Duration | None = Field(None, description="how long records are kept; unset: for ever")


class Least(Section):
    """What a stage of a rollout takes at least before the next one."""

    decisions: int = Field(1000, ge=1, description="of the challenger, in the stage")
    time: Duration = Field("7d", validate_default=True,
                           description="event time since the stage's first decision; a week has all its days")


class Explore(Section):
    """Cases that would go against someone and are let through, so that their truth becomes known."""

    share: Percent = Field(description="of those cases, drawn by their ids")
    then: str = Field(description="the action they get instead")
    if_: Expression | None = Field(None, alias="if", description="only cases for which this holds")
    cost: Expression = Field(description="what letting one through may cost at most, in the currency")
    budget: Number = Field(gt=0, description="what all of a day (UTC, by arrival) may cost at most")


class Rollout(Section):
    """Who gets the model."""

    by: str | None = Field(None, description="entity that is assigned as a whole (default: the first one)")
    holdout: Percent = Field(0.05, description="control group, decided by the baseline policy")
    salt: str = Field("", description="change it to draw the groups anew")
    stages: list[Percent] = Field(["5%", "20%", "50%"], min_length=1, max_length=20, validate_default=True,
                                  description="a challenger's growing share of all who are not held out; 0% first: a shadow")
    approvals: int = Field(0, ge=0, le=20, description="how many others must approve before one promotes the challenger")
    risk: Percent = Field("5%", validate_default=True, description="of rolling back a challenger that is no worse, at most")
    margin: Percent = Field("10%", validate_default=True, description="how much more often it may fail, or be slow")
    tolerance: Percent = Field("0.1%", validate_default=True,
                               description="share of failures that is fine whatever the champion's is")
    shift: Percent | None = Field(None, description="share of decisions that may become others, at most (default: any)")
    loss: Number = Field(Decimal(0), ge=0,
                         description="how much less a decision may be worth, in the currency; 0: it is proven to be worth more")
    value: Literal["arms", "counterfactual"] = Field(
        "arms", description="compare what the arms earned; or both models on the same decisions, where the truth does not depend "
                            "on the action")
    least: Least = Field(default_factory=Least)
    explore: Explore | None = None
    automatic: bool = Field(False, description="the watch advances and promotes, too, when every gate agrees")


class Price(Section):
    """One line of the value formula; the first whose condition is true prices the decision."""

    when: Expression
    worth: Expression


class Target(Section):
    """What counts as success."""

    improvement: Number = Field(description="value per 1,000 decisions above the control group, in the currency")
    within: Duration


class Budget(Section):
    """What a decision may cost."""

    per_decision: Number = Field(Decimal(0), ge=0, description="cost of running one decision, in the currency")
    p99_latency: Duration | None = None


class Objective(Section):
    """Why the pilot exists."""

    kpi: str
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    value: list[Price] = Field(min_length=1, description="money per decision; a decision no line matches is worth 0")
    target: Target
    budget: Budget = Field(default_factory=Budget)
    stakeholders: dict[Word, str] = Field(default_factory=dict, description="who signs off: role → person or team")


class Adapters(Section):
    """Outside systems by URL; relative paths start at the folder for variable data."""

    ledger: str = "sqlite:///ledger.db"
    models: str = "file:///models"
    state: str = "file:///state"
    snapshots: str = Field("", description="where snapshots of features go, such as file:////mnt/shared/snapshots, "
                           "redis://host:6379/1 or s3://bucket/prefix; unset: one file beside the state")
    runtime: str = Field("inprocess:", description="what runs the models")
    secrets: str = Field("file:///keys", description="where keys are kept: file:///folder, made on first use, or env:")
    events: str = Field("", description="what `flightworthy stream` reads, such as kafka://broker:9092/payments")
    outcomes: str = Field("", description="a topic of outcomes with as many partitions")
    decisions: str = Field("", description="where decisions are published: kafka://… or file:///decisions.ndjson; unset: nowhere")
    dead_letters: str = Field("", description="where quarantined records are published, with their reason")
    witnesses: str = Field("", description="policy file beside the manifest: the witnesses that sign the log's checkpoints")


class Oidc(Section):
    """Tokens of an identity provider that may call the service."""

    issuer: str = Field(description="exactly as the tokens say it")
    audience: str
    jwks: str = Field(description="https:// address, or file, of the provider's public keys")
    algorithms: list[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]] = Field(
        default=["RS256", "ES256", "EdDSA"], min_length=1, description="accepted; symmetric ones never are")
    roles_claim: str = Field("roles", description="claim that holds the roles; dots go down into objects")
    roles: dict[str, Word] = Field(default_factory=dict, description="value of the claim → our role; empty: the same names")


class Service(Section):
    """How the pilot answers over HTTP. Nothing here shapes a decision; all of it may change without training."""

    deadline: Duration = Field(1_000_000, ge=1000, description="until this a request is answered, whatever is broken")
    model_timeout: Duration = Field(250_000, ge=1000, description="until this a model answers, else the next step does")
    ledger_down: Literal["refuse", "spill"] = Field("refuse", description="when no decision can be made durable in the ledger: "
                                                    "503, or the safe default into a local file that the ledger takes in later")
    durable: bool = Field(True, description="false: answers leave before the commit, and say so")
    queue: int = Field(4096, ge=1, le=1_000_000, description="records that may wait for a shard; more are refused at once")
    batch: int = Field(512, ge=1, le=8192, description="records decided together at most")
    rate: int = Field(0, ge=0, description="records a second for each caller; 0: no limit")
    oidc: Oidc | None = None


class Manifest(Section):
    """One pilot, from the business outcome down to the model."""

    flightworthy: Literal[1] = Field(description="version of this syntax")
    pilot: Title
    description: str = Field("", max_length=1000)
    objective: Objective
    events: Events
    outcomes: Outcomes
    features: Features = Field(default_factory=Features)
    model: Model = Field(default_factory=Model)
    policy: Policy
    governance: Governance = Field(default_factory=Governance)
    privacy: Privacy | None = None
    rollout: Rollout = Field(default_factory=Rollout)
    adapters: Adapters = Field(default_factory=Adapters)
    service: Service = Field(default_factory=Service)


def json_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of a manifest."""
    schema = Manifest.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "flightworthy pilot"}
