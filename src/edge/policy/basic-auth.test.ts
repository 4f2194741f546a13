import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../lib/clock.ts';
import { createBasicAuth, createHashing } from './basic-auth.ts';

const KEY = 'B'.repeat(43);

function authorization(text: string): string {
  return `Basic ${Buffer.from(text).toString('base64')}`;
}

test('a hash that cannot be computed lets nobody in, and breaks nothing', async () => {
  for (const parameters of ['ln=17,r=99,p=99', 'ln=17,r=16,p=2', 'ln=10,r=0,p=1', 'ln=10,r=8,p=0']) {
    const users = { anna: `$scrypt$${parameters}$${'A'.repeat(22)}$${KEY}` };
    const auth = createBasicAuth({ realm: 'staff', users }, createHashing(), systemClock);
    assert.equal(await auth.check(authorization('anna:secret'), '10.0.0.1'), 'wrong', parameters);
  }
});

test('who has a whole network of IPv6 has no more tries than others', async () => {
  const auth = createBasicAuth({ realm: 'staff', users: { anna: 'none' } }, () => Promise.resolve(false), systemClock);
  const verdicts: string[] = [];
  for (let each = 0; each < 12; each += 1) verdicts.push(await auth.check(authorization(`anna:${each}`), `2001:db8:0:1::${each}`));
  assert.equal(verdicts.at(-1), 'busy');
  assert.equal(await auth.check(authorization('anna:other'), '2001:db8:0:2::1'), 'wrong');
});
