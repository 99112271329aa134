"""Rescue: support desks, one technician per seat, all seats cheaper the more there are; no trial.

Additions are prorated, so that a support desk keeps its billing date.
"""

from plugins.products._provisioning import ProvisionedOverHttp
from puesto import Plan, Price, Product, SeatRule, eur, gbp, hookimpl, usd

STANDARD = Plan(
    id="rescue-standard",
    name={"en": "Standard", "es": "Estándar"},
    tier=1,
    prices=(
        Price.volume("month", (9, eur("99.00")), (24, eur("94.00")), (None, eur("91.00"))),
        Price.volume("month", (9, usd("109.00")), (24, usd("104.00")), (None, usd("101.00"))),
        Price.volume("month", (9, gbp("86.00")), (24, gbp("82.00")), (None, gbp("79.00"))),
        Price.volume("year", (9, eur("990.00")), (24, eur("940.00")), (None, eur("910.00"))),
        Price.volume("year", (9, usd("1090.00")), (24, usd("1040.00")), (None, usd("1010.00"))),
        Price.volume("year", (9, gbp("860.00")), (24, gbp("820.00")), (None, gbp("790.00"))),
    ),
    features={
        "en": ("Remote control of PC and Mac", "Chat with customers", "Technician groups"),
        "es": ("Control remoto de PC y Mac", "Chat con los clientes", "Grupos de técnicos"),
    },
    changes={"seats_up": "prorate", "plan_up": "prorate"},
)

ENTERPRISE = Plan(
    id="rescue-enterprise",
    name={"en": "Enterprise", "es": "Gran empresa"},
    tier=2,
    prices=(
        Price.volume("month", (49, eur("139.00")), (None, eur("129.00"))),
        Price.volume("month", (49, usd("149.00")), (None, usd("139.00"))),
        Price.volume("month", (49, gbp("119.00")), (None, gbp("111.00"))),
        Price.volume("year", (49, eur("1390.00")), (None, eur("1290.00"))),
        Price.volume("year", (49, usd("1490.00")), (None, usd("1390.00"))),
        Price.volume("year", (49, gbp("1190.00")), (None, gbp("1110.00"))),
    ),
    features={
        "en": ("Remote control of PC, Mac and mobile devices", "Live camera view", "Audit reports"),
        "es": ("Control remoto de PC, Mac y dispositivos móviles", "Vista de cámara en directo", "Informes de auditoría"),
    },
    seats=SeatRule(min=10, max=1000, step=10),
    changes={"seats_up": "prorate", "plan_up": "prorate"},
)


class Rescue(ProvisionedOverHttp):
    """The plugin `rescue`."""

    @hookimpl
    def register_products(self) -> list[Product]:
        return [
            Product(
                id="rescue",
                name={"en": "Rescue", "es": "Rescue"},
                description={
                    "en": "Remote support for support desks with many technicians.",
                    "es": "Asistencia remota para centros de soporte con muchos técnicos.",
                },
                plans=(STANDARD, ENTERPRISE),
            )
        ]
