import assert from 'node:assert/strict';
import { test } from 'node:test';
import { useOf, verdictOf } from './service-policy.ts';

const caller = (app: string, environment = 'production', uses: readonly string[] = []) => ({ app, environment, uses });
const provider = { app: 'billing', environment: 'production' };
const get = { method: 'GET', path: '/a' };

test('what is used is found by App and Service, with the Environment that it is mapped to', () => {
  const shop = caller('shop', 'staging', ['billing/production.invoices', 'librad.kv']);
  assert.deepEqual(useOf(shop, { app: 'billing', name: 'invoices' }), { app: 'billing', environment: 'production', name: 'invoices' });
  assert.deepEqual(useOf(shop, { app: 'librad', name: 'kv' }), { app: 'librad', environment: null, name: 'kv' });
  assert.equal(useOf(shop, { app: 'billing', name: 'kv' }), null);
});

test('nobody is let in who is not named, and an App’s other Environment is somebody else', () => {
  const ask = (who: ReturnType<typeof caller>, allow: readonly string[]): boolean =>
    verdictOf(who, provider, { name: 'invoices', allow }, get).allowed;
  assert.equal(ask(caller('shop'), []), false);
  assert.equal(ask(caller('shop'), ['shop']), true);
  assert.equal(ask(caller('shop', 'staging'), ['shop']), true);
  assert.equal(ask(caller('shop', 'staging'), ['shop/production']), false);
  assert.equal(ask(caller('shop', 'staging'), ['shop/staging']), true);
  assert.equal(ask(caller('shopping'), ['shop']), false);
  assert.equal(ask(caller('billing'), []), true);
  assert.equal(ask(caller('billing', 'staging'), []), false);
});

test('a grant that names methods or paths covers these alone, on whole segments', () => {
  const allow = [{ app: 'shop', methods: ['GET'], paths: ['/open/'] }];
  const ask = (method: string, path: string): boolean =>
    verdictOf(caller('shop'), provider, { name: 'invoices', allow }, { method, path }).allowed;
  assert.deepEqual(
    [ask('GET', '/open'), ask('GET', '/open/a/b'), ask('HEAD', '/open/a'), ask('GET', '/opened'), ask('GET', '/'), ask('POST', '/open/a')],
    [true, true, true, false, false, false],
  );
});
