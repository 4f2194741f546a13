// Which HTTP proxy is in the way to the platform, by the variables that most programs follow. What is on this machine is never asked for
// through one.

import { Failure } from '../lib/failure.ts';

/** @returns null: none. Throws `invalid_input` where the variable holds no URL of a proxy. */
export function proxyFor(url: URL, env: Readonly<Record<string, string | undefined>>): URL | null {
  const said = env['https_proxy'] ?? env['HTTPS_PROXY'] ?? '';
  if (said === '' || isLoopback(url.hostname)) return null;
  for (const each of (env['no_proxy'] ?? env['NO_PROXY'] ?? '').split(',')) {
    const name = each
      .trim()
      .replace(/^\*?\./u, '')
      .toLowerCase();
    if (name === '*' || (name !== '' && (url.hostname === name || url.hostname.endsWith(`.${name}`)))) return null;
  }
  const proxy = URL.parse(said.includes('://') ? said : `http://${said}`);
  if (proxy === null || (proxy.protocol !== 'http:' && proxy.protocol !== 'https:'))
    throw new Failure('invalid_input', {
      message: 'HTTPS_PROXY does not hold the URL of an HTTP proxy.',
      hint: 'Such as HTTPS_PROXY=http://proxy.example.com:3128; other kinds of proxies are not spoken to.',
    });
  return proxy;
}

/** RFC 6761 §6.3: names below `localhost` are this machine, whatever a resolver says. */
export function isLoopback(hostname: string): boolean {
  const name = hostname.replace(/^\[|\]$/gu, '');
  return name === 'localhost' || name.endsWith('.localhost') || name === '::1' || name.startsWith('127.');
}
