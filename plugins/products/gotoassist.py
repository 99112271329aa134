"""GoToAssist Remote Support: one technician per seat, a trial of 30 days that needs no payment method."""

from plugins.products._provisioning import ProvisionedOverHttp
from puesto import Plan, Price, Product, Trial, eur, gbp, hookimpl, usd

TRIAL = Trial(days=30, seats=5)

STANDARD = Plan(
    id="gotoassist-standard",
    name={"en": "Standard", "es": "Estándar"},
    tier=1,
    prices=(
        Price.per_seat("month", eur("12.00")),
        Price.per_seat("month", usd("13.00")),
        Price.per_seat("month", gbp("11.00")),
        Price.per_seat("year", eur("120.00")),
        Price.per_seat("year", usd("130.00")),
        Price.per_seat("year", gbp("110.00")),
    ),
    features={
        "en": ("One session at a time per technician", "File transfer"),
        "es": ("Una sesión a la vez por técnico", "Transferencia de archivos"),
    },
    trial=TRIAL,
)

PROFESSIONAL = Plan(
    id="gotoassist-professional",
    name={"en": "Professional", "es": "Profesional"},
    tier=2,
    prices=(
        Price.per_seat("month", eur("60.00")),
        Price.per_seat("month", usd("65.00")),
        Price.per_seat("month", gbp("52.00")),
        Price.per_seat("year", eur("600.00")),
        Price.per_seat("year", usd("650.00")),
        Price.per_seat("year", gbp("520.00")),
    ),
    features={
        "en": ("Eight sessions at a time per technician", "Unattended access to 100 computers", "Session recording"),
        "es": ("Ocho sesiones a la vez por técnico", "Acceso desatendido a 100 equipos", "Grabación de sesiones"),
    },
    trial=TRIAL,
)


class GoToAssist(ProvisionedOverHttp):
    """The plugin `gotoassist`."""

    @hookimpl
    def register_products(self) -> list[Product]:
        return [
            Product(
                id="gotoassist",
                name={"en": "GoToAssist Remote Support", "es": "GoToAssist Asistencia remota"},
                description={
                    "en": "See and solve your customers' computer problems from anywhere.",
                    "es": "Vea y resuelva los problemas informáticos de sus clientes desde cualquier lugar.",
                },
                plans=(STANDARD, PROFESSIONAL),
            )
        ]
