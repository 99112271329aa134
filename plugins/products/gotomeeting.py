"""GoToMeeting: one organiser per seat, a trial of 14 days that needs a payment method."""

from plugins.products._provisioning import ProvisionedOverHttp
from puesto import Plan, Price, Product, SeatRule, Trial, eur, gbp, hookimpl, usd

TRIAL = Trial(days=14, seats=5, requires_payment_method=True)

ESSENTIALS = Plan(
    id="gotomeeting-essentials",
    name={"en": "Essentials", "es": "Esencial"},
    tier=1,
    prices=(
        Price.per_seat("month", eur("9.00")),
        Price.per_seat("month", usd("10.00")),
        Price.per_seat("month", gbp("8.00")),
        Price.per_seat("year", eur("90.00")),
        Price.per_seat("year", usd("100.00")),
        Price.per_seat("year", gbp("80.00")),
    ),
    features={
        "en": ("Meetings of up to 50 people", "Screen sharing"),
        "es": ("Reuniones de hasta 50 personas", "Pantalla compartida"),
    },
    seats=SeatRule(max=10),
    trial=TRIAL,
)

PROFESSIONAL = Plan(
    id="gotomeeting-professional",
    name={"en": "Professional", "es": "Profesional"},
    tier=2,
    prices=(
        Price.per_seat("month", eur("14.00")),
        Price.per_seat("month", usd("15.00")),
        Price.per_seat("month", gbp("12.00")),
        Price.per_seat("year", eur("140.00")),
        Price.per_seat("year", usd("150.00")),
        Price.per_seat("year", gbp("120.00")),
    ),
    features={
        "en": ("Meetings of up to 150 people", "Screen sharing", "Cloud recording"),
        "es": ("Reuniones de hasta 150 personas", "Pantalla compartida", "Grabación en la nube"),
    },
    trial=TRIAL,
)

BUSINESS = Plan(
    id="gotomeeting-business",
    name={"en": "Business", "es": "Empresas"},
    tier=3,
    prices=(
        Price.graduated("month", (20, eur("19.00")), (100, eur("17.00")), (None, eur("15.00"))),
        Price.graduated("month", (20, usd("20.00")), (100, usd("18.00")), (None, usd("16.00"))),
        Price.graduated("month", (20, gbp("16.00")), (100, gbp("14.00")), (None, gbp("13.00"))),
        Price.graduated("year", (20, eur("190.00")), (100, eur("170.00")), (None, eur("150.00"))),
        Price.graduated("year", (20, usd("200.00")), (100, usd("180.00")), (None, usd("160.00"))),
        Price.graduated("year", (20, gbp("160.00")), (100, gbp("140.00")), (None, gbp("130.00"))),
    ),
    features={
        "en": ("Meetings of up to 250 people", "Cloud recording with transcripts", "Room systems"),
        "es": ("Reuniones de hasta 250 personas", "Grabación en la nube con transcripción", "Equipos de sala"),
    },
    seats=SeatRule(min=10, step=5),
)


class GoToMeeting(ProvisionedOverHttp):
    """The plugin `gotomeeting`."""

    @hookimpl
    def register_products(self) -> list[Product]:
        return [
            Product(
                id="gotomeeting",
                name={"en": "GoToMeeting", "es": "GoToMeeting"},
                description={
                    "en": "Online meetings with sound, picture and shared screens.",
                    "es": "Reuniones en línea con voz, vídeo y pantalla compartida.",
                },
                plans=(ESSENTIALS, PROFESSIONAL, BUSINESS),
            )
        ]
