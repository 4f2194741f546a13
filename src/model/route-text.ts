// Routes in words, the same in the command line, the API and explanations.

import type { RouteConditions, ValueMatch, ValueMatches } from './route-match.ts';
import type { RoutePolicy } from './route-policy.ts';

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function valueText(kind: string, name: string, match: ValueMatch): string {
  if (typeof match === 'string') return `${kind} ${name} = ${match}`;
  if ('pattern' in match) return `${kind} ${name} ~ ${match.pattern}`;
  return match.present ? `${kind} ${name}` : `no ${kind} ${name}`;
}

function valueTexts(kind: string, matches: ValueMatches | undefined): string[] {
  return Object.entries(matches ?? {}).map(([name, match]) => valueText(kind, name, match));
}

/** Host and path: `shop.localhost/api`, `shop.localhost = /login`, `shop.localhost ~ /v(\d+)/.*`. An absent pathType is a prefix. */
export function placeText({
  host,
  path,
  pathType = 'prefix',
}: Pick<RouteConditions, 'host' | 'path'> & { readonly pathType?: 'prefix' | 'exact' | 'pattern' }): string {
  if (pathType === 'prefix') return `${host}${path}`;
  return `${host} ${pathType === 'exact' ? '=' : '~'} ${path}`;
}

/** What it asks beside host and path. */
export function conditionTexts({ methods, headers, query, cookies, sources }: RouteConditions): string[] {
  return [
    ...(methods === undefined ? [] : [`method ${methods.join(' or ')}`]),
    ...valueTexts('header', headers),
    ...valueTexts('query', query),
    ...valueTexts('cookie', cookies),
    ...(sources === undefined ? [] : [`from ${sources.join(' or ')}`]),
  ];
}

/** Place and conditions in one. */
export function routeText(route: RouteConditions): string {
  const conditions = conditionTexts(route);
  return `${placeText(route)}${conditions.length === 0 ? '' : ` (${conditions.join(', ')})`}`;
}

/** What it does beside sending a request on, one text for each part. */
export function policyTexts(policy: RoutePolicy | undefined): string[] {
  if (policy === undefined) return [];
  const {
    allow,
    deny,
    https,
    clientCertificates,
    onDemandCertificates,
    cors,
    auth,
    rateLimit,
    redirect,
    rewrite,
    requestHeaders,
    responseHeaders,
    timeoutMs,
    totalTimeoutMs,
    bodyBytes,
  } = policy;
  const texts: string[] = [];
  if (deny !== undefined) texts.push(`deny ${deny.join(', ')}`);
  if (allow !== undefined) texts.push(`allow ${allow.join(', ')}`);
  if (https !== undefined) texts.push('https only');
  if (clientCertificates !== undefined) texts.push(`client certificate${clientCertificates.optional ? ' (optional)' : ''}`);
  if (onDemandCertificates !== undefined) texts.push(`certificates on demand, asking ${onDemandCertificates.ask}`);
  if (cors !== undefined) texts.push(`CORS ${cors.origins.join(', ')}`);
  if (auth !== undefined) texts.push(`password of ${counted(Object.keys(auth.users).length, 'user')}`);
  if (rateLimit !== undefined) texts.push(`at most ${counted(rateLimit.requests, 'request')} per ${rateLimit.perMs / 1_000} s`);
  if (redirect !== undefined) {
    const { status, scheme, host, port, path } = redirect;
    texts.push(
      `redirect ${status} to ${scheme ?? ''}${scheme === undefined ? '' : '://'}${host ?? ''}${port === undefined ? '' : `:${port}`}${path?.value ?? ''}`,
    );
  }
  if (rewrite !== undefined) texts.push(`rewrite to ${rewrite.host ?? ''}${rewrite.path?.value ?? ''}`);
  if (requestHeaders !== undefined) texts.push('edits request headers');
  if (responseHeaders !== undefined) texts.push('edits response headers');
  if (policy.retries !== undefined) texts.push(`at most ${policy.retries.attempts} ${policy.retries.attempts === 1 ? 'try' : 'tries'}`);
  if (timeoutMs !== undefined) texts.push(`timeout ${timeoutMs / 1_000} s`);
  if (totalTimeoutMs !== undefined) texts.push(`at most ${totalTimeoutMs / 1_000} s in all`);
  if (bodyBytes !== undefined) texts.push(`body at most ${counted(bodyBytes, 'byte')}`);
  return texts;
}
