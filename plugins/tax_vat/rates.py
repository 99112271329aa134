"""Standard VAT rates with their history: EU-27, Azores and Madeira, GB, CH, LI, NO.

Every rate that was valid on 2020-01-01 or later, from the day it came into force. Compared with the Commission's
"VAT rates applied in the member states" (https://taxation-customs.ec.europa.eu) and, by a test, with its database TEDB.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from plugins.tax_vat.territories import AZORES, MADEIRA, vat_country
from puesto import TaxRate, hookimpl


def _rate(country: str, percent: str, valid_from: str, source: str) -> TaxRate:
    return TaxRate(country, Decimal(percent), date.fromisoformat(valid_from), source)


STANDARD_RATES = (
    _rate("AT", "20", "1984-01-01", "Umsatzsteuergesetz 1994, § 10(1)"),
    _rate("BE", "21", "1996-01-01", "Arrêté royal n° 20 du 20 juillet 1970, art. 1"),
    _rate("BG", "20", "1999-01-01", "Закон за данък върху добавената стойност, чл. 66(1)"),
    _rate("CY", "19", "2014-01-13", "VAT Law 95(I)/2000"),
    _rate("CZ", "21", "2013-01-01", "Zákon č. 235/2004 Sb., § 47(1)"),
    _rate("DE", "19", "2007-01-01", "Umsatzsteuergesetz, § 12(1)"),
    _rate("DE", "16", "2020-07-01", "Umsatzsteuergesetz, § 28(1) (Zweites Corona-Steuerhilfegesetz)"),
    _rate("DE", "19", "2021-01-01", "Umsatzsteuergesetz, § 12(1)"),
    _rate("DK", "25", "1992-01-01", "Momsloven, § 33"),
    _rate("EE", "20", "2009-07-01", "Käibemaksuseadus, § 15(1)"),
    _rate("EE", "22", "2024-01-01", "Käibemaksuseadus, § 15(1)"),
    _rate("EE", "24", "2025-07-01", "Käibemaksuseadus, § 15(1)"),
    _rate("ES", "21", "2012-09-01", "Ley 37/1992, art. 90.Uno"),
    _rate("FI", "24", "2013-01-01", "Arvonlisäverolaki 1501/1993, 84 §"),
    _rate("FI", "25.5", "2024-09-01", "Arvonlisäverolaki 1501/1993, 84 §"),
    _rate("FR", "20", "2014-01-01", "Code général des impôts, art. 278"),
    _rate("GR", "24", "2016-06-01", "Νόμος 2859/2000 (Κώδικας ΦΠΑ), as changed by Νόμος 4389/2016"),
    _rate("HR", "25", "2012-03-01", "Zakon o porezu na dodanu vrijednost, čl. 38"),
    _rate("HU", "27", "2012-01-01", "2007. évi CXXVII. törvény, 82. §"),
    _rate("IE", "23", "2012-01-01", "Value-Added Tax Consolidation Act 2010, s. 46(1)"),
    _rate("IE", "21", "2020-09-01", "Value-Added Tax Consolidation Act 2010, s. 46(1) (Covid-19 measure)"),
    _rate("IE", "23", "2021-03-01", "Value-Added Tax Consolidation Act 2010, s. 46(1)"),
    _rate("IT", "22", "2013-10-01", "DPR 633/1972, art. 16"),
    _rate("LT", "21", "2009-09-01", "Pridėtinės vertės mokesčio įstatymas IX-751, 19 str."),
    _rate("LU", "17", "2015-01-01", "Loi TVA du 12 février 1979, art. 39"),
    _rate("LU", "16", "2023-01-01", "Loi du 26 octobre 2022 (baisse temporaire)"),
    _rate("LU", "17", "2024-01-01", "Loi TVA du 12 février 1979, art. 39"),
    _rate("LV", "21", "2012-07-01", "Pievienotās vērtības nodokļa likums, 41. pants"),
    _rate("MT", "18", "2004-01-01", "Value Added Tax Act, Cap. 406"),
    _rate("NL", "21", "2012-10-01", "Wet op de omzetbelasting 1968, art. 9(1)"),
    _rate("PL", "23", "2011-01-01", "Ustawa o podatku od towarów i usług, art. 41 and 146aa ff."),
    _rate("PT", "23", "2011-01-01", "Código do IVA, art. 18(1)(c)"),
    _rate(AZORES, "18", "2015-07-01", "Lei 63-A/2015"),
    _rate(AZORES, "16", "2021-07-01", "Decreto Legislativo Regional 15-A/2021/A"),
    _rate(MADEIRA, "22", "2012-04-01", "Código do IVA, art. 18(3)"),
    _rate("RO", "19", "2017-01-01", "Codul fiscal (Legea 227/2015), art. 291(1)"),
    _rate("RO", "21", "2025-08-01", "Codul fiscal (Legea 227/2015), art. 291(1), as changed by Legea 141/2025"),
    _rate("SE", "25", "1990-07-01", "Mervärdesskattelag (2023:200), 9 kap. 2 §; before 2023-07-01 (1994:200), 7 kap. 1 §"),
    _rate("SI", "22", "2013-07-01", "Zakon o davku na dodano vrednost (ZDDV-1), 41. člen"),
    _rate("SK", "20", "2011-01-01", "Zákon č. 222/2004 Z. z., § 27"),
    _rate("SK", "23", "2025-01-01", "Zákon č. 222/2004 Z. z., § 27, as changed by č. 278/2024 Z. z."),
    _rate("GB", "20", "2011-01-04", "Value Added Tax Act 1994, s. 2(1)"),
    _rate("CH", "7.7", "2018-01-01", "Mehrwertsteuergesetz (SR 641.20), art. 25(1)"),
    _rate("CH", "8.1", "2024-01-01", "Mehrwertsteuergesetz (SR 641.20), art. 25(1)"),
    _rate("LI", "7.7", "2018-01-01", "Mehrwertsteuergesetz (LR 641.20), art. 25(1)"),
    _rate("LI", "8.1", "2024-01-01", "Mehrwertsteuergesetz (LR 641.20), art. 25(1)"),
    _rate("NO", "25", "2005-01-01", "Merverdiavgiftsloven, § 5-1, and Stortingets vedtak om merverdiavgift, § 2"),
)


@hookimpl
def find_tax_rate(country: str, on: date) -> TaxRate | None:
    """The standard rate on a day. Monaco has that of FR, the Isle of Man that of GB; `PT-20` is the Azores, `PT-30` Madeira."""
    place = vat_country(country)
    known = (rate for rate in STANDARD_RATES if rate.country == place and rate.valid_from <= on)
    return max(known, key=lambda rate: rate.valid_from, default=None)
