"""Signs Alipay notices with a client that is not ours, and posts them.

usage: python3 alipay_notice.py KEYS_FOLDER URL ORDER
"""

import json
import sys
import urllib.parse
import urllib.request
from pathlib import Path

from alipay import AliPay


def main() -> None:
    folder, url, order = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    accounts = json.loads((folder / "accounts.json").read_text())
    # The gateway's side of the conversation: its private key signs.
    gateway = AliPay(
        appid=accounts["alipay_application_id"],
        app_notify_url=None,
        app_private_key_string=(folder / "alipay.key.pem").read_text(),
        alipay_public_key_string=(folder / "alipay.pub.pem").read_text(),
        sign_type="RSA2",
    )
    fields = {
        "gmt_create": "2026-11-21 10:00:00",
        "charset": "utf-8",
        "gmt_payment": "2026-11-21 10:00:05",
        "notify_time": "2026-11-21 10:00:06",
        "subject": "测试 A+B 100% 商品",
        "buyer_id": "2088000000000001",
        "version": "1.0",
        "notify_id": "20261121002221000060000" + order,
        "notify_type": "trade_status_sync",
        "out_trade_no": order,
        "total_amount": "19.99",
        "trade_status": "TRADE_SUCCESS",
        "trade_no": "2026112122001400" + order,
        "app_id": accounts["alipay_application_id"],
        "seller_id": accounts["alipay_seller_id"],
        "fund_bill_list": '[{"amount":"19.99","fundChannel":"ALIPAYACCOUNT"}]',
    }
    text = "&".join(f"{name}={fields[name]}" for name in sorted(fields))
    signature = gateway._sign(text)
    body = urllib.parse.urlencode({**fields, "sign_type": "RSA2", "sign": signature}).encode()
    request = urllib.request.Request(
        f"{url}/callback/alipay-main",
        data=body,
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(json.dumps({"what": "alipay", "status": answer.status, "body": answer.read().decode()}))


main()
