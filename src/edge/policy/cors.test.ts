import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { Fields } from '../../proxy/fields.ts';
import { createCors } from './cors.ts';

const policy = { methods: ['GET', 'PUT'], headers: ['x-a'], expose: [], maxAgeS: 1 };
const label = fc.constantFrom('a', 'b', 'shop', 'example', 'evil');
const origin = fc
  .tuple(fc.constantFrom('https', 'http'), fc.array(label, { minLength: 1, maxLength: 4 }), fc.constantFrom('', ':8080'))
  .map(([scheme, labels, port]) => `${scheme}://${labels.join('.')}${port}`);

test('an origin may read where it is named, or below a wildcard of its own scheme and port, and nowhere else', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(origin, fc.boolean()), { minLength: 1, maxLength: 4 }),
      origin,
      fc.boolean(),
      (given, asking, credentials) => {
        const origins = given.map(([each, wild]) => (wild ? each.replace('://', '://*.') : each));
        const fields = new Fields();
        createCors({ ...policy, origins, credentials }).edit(fields, asking);
        const [scheme = '', rest = ''] = asking.split('://');
        const expected = given.some(([each, wild]) => {
          const [itsScheme = '', its = ''] = each.split('://');
          return wild ? scheme === itsScheme && rest.endsWith(`.${its}`) : asking === each;
        });
        assert.equal(fields.get('access-control-allow-origin'), expected ? asking : undefined);
        assert.equal(fields.has('access-control-allow-credentials'), expected && credentials);
        assert.equal(fields.get('vary'), 'Origin');
      },
    ),
    { numRuns: 1_000 },
  );
});

test('only what is asked and allowed comes back from a preflight', () => {
  const cors = createCors({ ...policy, origins: ['https://a.example'], credentials: false, headers: [] });
  const ask = (fields: Readonly<Record<string, string>>): Fields | null => cors.preflight('OPTIONS', (name) => fields[name]);
  const from = { origin: 'https://a.example', 'access-control-request-method': 'PUT' };
  assert.equal(ask({ origin: 'https://a.example' }), null, 'it is no preflight');
  assert.equal(
    cors.preflight('GET', (name) => ({ ...from })[name]),
    null,
  );
  assert.equal(
    ask({ ...from, 'access-control-request-headers': 'X-One, x-two,, bad name' })?.get('access-control-allow-headers'),
    'x-one, x-two',
  );
  assert.equal(ask({ ...from, origin: 'https://b.example' })?.has('access-control-allow-origin'), false);
  assert.equal(ask({ ...from, 'access-control-request-method': 'DELETE' })?.has('access-control-allow-methods'), false);
});
