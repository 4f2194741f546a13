import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteSpec } from './manifest-types.ts';
import { mainRoute, routeUrl } from './route-url.ts';

const route = (rest: Partial<RouteSpec>): { readonly route: RouteSpec } => ({
  route: { host: 'a.example', path: '/', match: { headers: {} }, ...rest },
});

test('a URL has the port only where it is not its own, and no path that is a pattern', () => {
  const plain = { publicScheme: 'http', publicPort: 8080, publicHttpsPort: 8443 } as const;
  assert.equal(routeUrl(plain, route({}).route), 'http://a.example:8080');
  assert.equal(
    routeUrl({ publicScheme: 'https', publicPort: 443, publicHttpsPort: null }, route({ path: '/x' }).route),
    'https://a.example/x',
  );
  assert.equal(routeUrl(plain, route({ path: '/v(\\d+)', pathType: 'pattern' }).route), 'http://a.example:8080');
  const clientCertificates = { authority: '', optional: true };
  for (const policy of [{ https: 'redirect' as const }, { clientCertificates }])
    assert.equal(routeUrl(plain, route({ policy }).route), 'https://a.example:8443', 'http would only lead there');
  assert.equal(routeUrl({ ...plain, publicHttpsPort: null }, route({ policy: { https: 'redirect' } }).route), 'http://a.example:8080');
});

test('the Route to show is the first that can be opened as it is', () => {
  const odd = [
    route({ host: '*.example' }),
    route({ policy: { redirect: { status: 301, host: 'b.example' } } }),
    route({ path: '/(.*)', pathType: 'pattern' }),
    route({ match: { headers: {}, methods: ['POST'] } }),
    route({ match: { headers: { 'x-beta': { present: true } } } }),
  ];
  const good = [route({ path: '/one' }), route({ path: '/two' })];
  assert.equal(mainRoute([...odd, ...good]), good[0]);
  assert.equal(mainRoute(odd), odd[3]);
  assert.equal(mainRoute(odd.slice(0, 2)), odd[1]);
  assert.equal(mainRoute([]), undefined);
});
