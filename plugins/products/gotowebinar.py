"""GoToWebinar: a flat fee that includes some organisers, and a price for each further one; a trial of 7 days."""

from plugins.products._provisioning import ProvisionedOverHttp
from puesto import Plan, Price, Product, Trial, eur, gbp, hookimpl, usd

STANDARD = Plan(
    id="gotowebinar-standard",
    name={"en": "Standard", "es": "Estándar"},
    tier=1,
    prices=(
        Price.flat("month", eur("89.00"), included_seats=2, extra_seat=eur("29.00")),
        Price.flat("month", usd("95.00"), included_seats=2, extra_seat=usd("32.00")),
        Price.flat("month", gbp("77.00"), included_seats=2, extra_seat=gbp("25.00")),
        Price.flat("year", eur("890.00"), included_seats=2, extra_seat=eur("290.00")),
        Price.flat("year", usd("950.00"), included_seats=2, extra_seat=usd("320.00")),
        Price.flat("year", gbp("770.00"), included_seats=2, extra_seat=gbp("250.00")),
    ),
    features={
        "en": ("Webinars for up to 250 attendees", "Registration pages", "Polls"),
        "es": ("Seminarios web de hasta 250 asistentes", "Páginas de inscripción", "Encuestas"),
    },
    trial=Trial(days=7, seats=2),
)

PROFESSIONAL = Plan(
    id="gotowebinar-professional",
    name={"en": "Professional", "es": "Profesional"},
    tier=2,
    prices=(
        Price.flat("month", eur("189.00"), included_seats=5, extra_seat=eur("35.00")),
        Price.flat("month", usd("199.00"), included_seats=5, extra_seat=usd("38.00")),
        Price.flat("month", gbp("165.00"), included_seats=5, extra_seat=gbp("30.00")),
        Price.flat("year", eur("1890.00"), included_seats=5, extra_seat=eur("350.00")),
        Price.flat("year", usd("1990.00"), included_seats=5, extra_seat=usd("380.00")),
        Price.flat("year", gbp("1650.00"), included_seats=5, extra_seat=gbp("300.00")),
    ),
    features={
        "en": ("Webinars for up to 1,000 attendees", "Registration pages", "Polls", "Certificates of attendance"),
        "es": ("Seminarios web de hasta 1000 asistentes", "Páginas de inscripción", "Encuestas", "Certificados de asistencia"),
    },
    trial=Trial(days=7, seats=5),
)


class GoToWebinar(ProvisionedOverHttp):
    """The plugin `gotowebinar`."""

    @hookimpl
    def register_products(self) -> list[Product]:
        return [
            Product(
                id="gotowebinar",
                name={"en": "GoToWebinar", "es": "GoToWebinar"},
                description={
                    "en": "Webinars from the invitation to the follow-up.",
                    "es": "Seminarios web, desde la invitación hasta el seguimiento.",
                },
                plans=(STANDARD, PROFESSIONAL),
            )
        ]
