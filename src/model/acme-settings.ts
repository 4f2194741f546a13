// Settings about certificates from an authority, as people write them.

import { Failure } from '../lib/failure.ts';

/** Addresses of DNS servers, IPv6 with a port in brackets. */
export function resolvers(text: string, source: string): readonly string[] {
  const list = text.split(',').map((entry) => entry.trim());
  const wrong = list.find((entry) => !/^(?:[\d.]{7,15}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\]:\d{1,5}|[0-9A-Fa-f:.]{2,45})$/u.test(entry));
  if (wrong !== undefined || list.length > 8) {
    throw new Failure('invalid_input', {
      message: `${source} must be up to eight addresses such as 1.1.1.1 or 10.0.0.2:5353, with commas between them, not ${JSON.stringify(wrong ?? text)}.`,
    });
  }
  return list;
}

/** Authorities that go by a name. */
const AUTHORITIES: Readonly<Record<string, string>> = {
  letsencrypt: 'https://acme-v02.api.letsencrypt.org/directory',
  'letsencrypt-staging': 'https://acme-staging-v02.api.letsencrypt.org/directory',
};

/** The URL of a directory (RFC 8555 §7.1.1), or `off`. */
export function acmeDirectory(text: string, source: string): string {
  if (text === 'off') return text;
  const url = Object.hasOwn(AUTHORITIES, text) ? AUTHORITIES[text] : text;
  if (url === undefined || URL.parse(url)?.protocol !== 'https:') {
    throw new Failure('invalid_input', {
      message: `${source} must be off, ${Object.keys(AUTHORITIES).join(', ')} or the https URL of an ACME directory, not ${JSON.stringify(text)}.`,
    });
  }
  return url;
}
