// Keeps browsers of other sites out: an API on loopback answers only to names that a foreign page cannot take over (DNS rebinding),
// and no request from another origin is carried out. There is no CORS.

import { Failure } from '../lib/failure.ts';
import { platformHost } from '../model/names.ts';

export interface GuardOptions {
  /** True while bound to loopback: then only known host names are answered. */
  readonly loopback: () => boolean;
  readonly domain: string;
  readonly allowedHosts: readonly string[];
  /** Further origins, such as a development server of the console. */
  readonly allowedOrigins: readonly string[];
}

type Header = string | readonly string[] | undefined;
export type HeaderBag = Readonly<Record<string, Header>>;

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]'] as const;

export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127(?:\.\d{1,3}){3}$/u.test(host);
}

function hostName(host: string): string {
  return host.replace(/:\d+$/u, '').toLowerCase();
}

function one(value: Header): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}

/** Throws `forbidden` for what a foreign page could have sent. */
export function createGuard(options: GuardOptions): (method: string, headers: HeaderBag) => void {
  const names = new Set([...LOOPBACK_NAMES, platformHost(options.domain), ...options.allowedHosts].map((name) => name.toLowerCase()));
  const origins = new Set(options.allowedOrigins.map((origin) => origin.toLowerCase()));
  return (method, headers) => {
    const host = one(headers['host']) ?? '';
    if (options.loopback() && !names.has(hostName(host))) {
      throw new Failure('forbidden', {
        message: `This API does not answer to the host name "${host.slice(0, 100)}".`,
        hint: `Use one of ${[...names].join(', ')}, or allow the name in the settings.`,
      });
    }
    const origin = one(headers['origin'])?.toLowerCase();
    if (origin !== undefined) {
      const own = origin === `http://${host.toLowerCase()}` || origin === `https://${host.toLowerCase()}`;
      if (!own && !origins.has(origin)) throw crossSite();
      return;
    }
    const site = one(headers['sec-fetch-site']);
    if (method !== 'GET' && method !== 'HEAD' && (site === 'cross-site' || site === 'same-site')) throw crossSite();
  };
}

function crossSite(): Failure {
  return new Failure('forbidden', { message: 'Requests from pages of other sites are refused.' });
}
