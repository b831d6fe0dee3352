// Signs and encrypts WeChat Pay callbacks with a client that is not ours, and posts them.
// usage: node wechat.cjs KEYS_FOLDER URL V3_ORDER V2_ORDER HMAC_ORDER
const fs = require('node:fs');
const path = require('node:path');
const { Aes, Formatter, Hash, Rsa, Transformer } = require('wechatpay-axios-plugin');

const [folder, url, v3Order, v2Order, hmacOrder] = process.argv.slice(2);
const read = (name) => fs.readFileSync(path.join(folder, name), 'utf8').trim();
const accounts = JSON.parse(read('accounts.json'));

async function post(what, channel, headers, body) {
  const answer = await fetch(`${url}/callback/${channel}`, { method: 'POST', headers, body });
  console.log(JSON.stringify({ what, status: answer.status, body: await answer.text() }));
}

function v3(serial, keyFile) {
  const resource = JSON.stringify({
    transaction_id: `42000000000000${v3Order}`,
    amount: { payer_total: 1999, total: 1999, currency: 'CNY', payer_currency: 'CNY' },
    mchid: accounts.wechat_merchant_id,
    trade_state: 'SUCCESS',
    bank_type: 'OTHERS',
    success_time: '2026-11-21T10:00:05+08:00',
    payer: { openid: 'oForeignClient' },
    out_trade_no: v3Order,
    appid: accounts.wechat_application_id,
    trade_state_desc: '支付成功',
    trade_type: 'NATIVE',
    attach: '备注 / a+b & <c>',
  });
  const nonce = Formatter.nonce(12);
  const body = JSON.stringify({
    id: `EV-${v3Order}`,
    create_time: '2026-11-21T10:00:06+08:00',
    resource_type: 'encrypt-resource',
    event_type: 'TRANSACTION.SUCCESS',
    summary: '支付成功',
    resource: {
      original_type: 'transaction',
      algorithm: 'AEAD_AES_256_GCM',
      ciphertext: Aes.AesGcm.encrypt(resource, read('wechat-v3-api.key'), nonce, 'transaction'),
      associated_data: 'transaction',
      nonce,
    },
  });
  const timestamp = String(Formatter.timestamp());
  const signNonce = Formatter.nonce();
  const signature = Rsa.sign(
    Formatter.response(timestamp, signNonce, body),
    Rsa.from(`file://${path.join(path.resolve(folder), keyFile)}`, Rsa.KEY_TYPE_PRIVATE),
  );
  return post(`v3 ${serial.slice(0, 10)}`, 'wechat-v3-main', {
    'Content-Type': 'application/json',
    'Wechatpay-Timestamp': timestamp,
    'Wechatpay-Nonce': signNonce,
    'Wechatpay-Serial': serial,
    'Wechatpay-Signature': signature,
  }, body);
}

function v2(order, type, channel) {
  const fields = {
    appid: accounts.wechat_application_id,
    mch_id: accounts.wechat_merchant_id,
    nonce_str: Formatter.nonce(),
    ...(type === Hash.ALGO_HMAC_SHA256 ? { sign_type: type } : {}),
    openid: 'oForeignClient',
    is_subscribe: 'N',
    trade_type: 'NATIVE',
    bank_type: 'OTHERS',
    total_fee: '1999',
    fee_type: 'CNY',
    cash_fee: '1999',
    transaction_id: `42000000000000${order}`,
    out_trade_no: order,
    attach: '备注 & <c>',
    time_end: '20261121100005',
    return_code: 'SUCCESS',
    result_code: 'SUCCESS',
  };
  const sign = Hash.sign(type, fields, read('wechat-v2-api.key'));
  const body = Transformer.toXml({ ...fields, sign });
  return post(`v2 ${type}`, channel, { 'Content-Type': 'text/xml' }, body);
}

function v2Refund(order) {
  const plain = Transformer.toXml({
    out_refund_no: `R${order}`,
    out_trade_no: order,
    refund_fee: '1999',
    refund_id: `5030000000${order}`,
    refund_status: 'SUCCESS',
    settlement_refund_fee: '1999',
    settlement_total_fee: '1999',
    success_time: '2026-11-21 11:00:00',
    total_fee: '1999',
    transaction_id: `42000000000000${order}`,
  }).replace(/^<xml>/, '<root>').replace(/<\/xml>$/, '</root>');
  const key = Hash.md5(read('wechat-v2-api.key'));
  const body = Transformer.toXml({
    return_code: 'SUCCESS',
    appid: accounts.wechat_application_id,
    mch_id: accounts.wechat_merchant_id,
    nonce_str: Formatter.nonce(),
    req_info: Aes.AesEcb.encrypt(plain, key),
  });
  return post('v2 refund', 'wechat-v2-main', { 'Content-Type': 'text/xml' }, body);
}

(async () => {
  await v3(accounts.wechat_certificate_serial, 'wechat-v3-platform.key.pem');
  await v3(accounts.wechat_public_key_id, 'wechat-v3-public.key.pem');
  await v2(v2Order, Hash.ALGO_MD5, 'wechat-v2-main');
  await v2Refund(v2Order);
  await v2(hmacOrder, Hash.ALGO_HMAC_SHA256, 'wechat-v2-hmac');
})();
