# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Houses that nobody lives in, in the columns of Kaggle's train.csv, and what all of them together would teach."""

from __future__ import annotations

import csv
import importlib
import io
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples" / "xain"

_HEADING = """
Id MSSubClass MSZoning LotFrontage LotArea Street Alley LotShape LandContour Utilities LotConfig LandSlope Neighborhood
Condition1 Condition2 BldgType HouseStyle OverallQual OverallCond YearBuilt YearRemodAdd RoofStyle RoofMatl Exterior1st
Exterior2nd MasVnrType MasVnrArea ExterQual ExterCond Foundation BsmtQual BsmtCond BsmtExposure BsmtFinType1 BsmtFinSF1
BsmtFinType2 BsmtFinSF2 BsmtUnfSF TotalBsmtSF Heating HeatingQC CentralAir Electrical 1stFlrSF 2ndFlrSF LowQualFinSF
GrLivArea BsmtFullBath BsmtHalfBath FullBath HalfBath BedroomAbvGr KitchenAbvGr KitchenQual TotRmsAbvGrd Functional
Fireplaces FireplaceQu GarageType GarageYrBlt GarageFinish GarageCars GarageArea GarageQual GarageCond PavedDrive
WoodDeckSF OpenPorchSF EnclosedPorch 3SsnPorch ScreenPorch PoolArea PoolQC Fence MiscFeature MiscVal MoSold YrSold
SaleType SaleCondition SalePrice
"""
COLUMNS = _HEADING.split()


def house(number: int, draw: random.Random) -> dict[str, object]:
    """One house, whose price follows from what is known of it, but for some thousands."""
    quality, condition = draw.randint(3, 10), draw.randint(3, 8)
    year, lot = draw.randint(1900, 2010), draw.randint(3000, 25_000)
    living, cars = draw.randint(600, 3000), draw.randint(0, 3)
    price = 20_000 * quality + 4_000 * condition + 300 * (year - 1900) + lot + 60 * living + 9_000 * cars - 60_000
    known = {
        "Id": number, "LotFrontage": "NA", "OverallQual": quality, "OverallCond": condition, "YearBuilt": year,
        "LotArea": lot, "GrLivArea": living, "GarageCars": cars, "SalePrice": round(price + draw.gauss(0, 5000)),
    }  # fmt: skip
    return {name: known.get(name, "NA") for name in COLUMNS}


def split_data(counts: Sequence[int], seed: int = 20261129) -> list[str]:
    """One file's text for each participant, with so many houses."""
    draw, texts, number = random.Random(seed), [], 0
    for count in counts:
        file = io.StringIO()
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for _house in range(count):
            number += 1
            writer.writerow(house(number, draw))
        texts.append(file.getvalue())
    return texts


def example(name: str) -> Any:
    """A module of the examples, where there is no SDK: an empty class is all of it that they use."""
    sdk = ModuleType("xain_sdk")
    sdk.ParticipantABC = object  # type: ignore[attr-defined]
    sys.modules.setdefault("xain_sdk", sdk)
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    return importlib.import_module(name)
