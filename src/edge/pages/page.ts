// What the Edge says itself when no Instance can, or shall: in HTML for browsers, as a problem document (RFC 9457) where JSON is asked for, else
// as plain text.

import { appPage } from '../../model/app-pages.ts';
import type { AppPages } from '../../model/app-pages.ts';
import { html } from './html.ts';
import { pageText } from './situation.ts';
import type { Situation } from './situation.ts';

export interface Page {
  readonly status: number;
  /** Without its length. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The page in the form that the Accept header prefers. */
export function renderPage(situation: Situation, accept: string | undefined, requestId: string, pages: AppPages = {}): Page {
  if (situation.type === 'challenge')
    return { status: 200, headers: { 'content-type': 'application/octet-stream' }, body: situation.keyAuthorization };
  const text = pageText(situation);
  const headers = {
    'cache-control': 'no-store',
    ...(text.retryAfterSeconds === null ? {} : { 'retry-after': String(text.retryAfterSeconds) }),
  };
  const page = (type: string, body: string): Page => ({
    status: text.status,
    headers: { ...headers, 'content-type': type },
    body,
  });
  if (accept?.includes('text/html') === true)
    return page('text/html; charset=utf-8', appPage(pages, situation.type, text.status, requestId) ?? html(text, requestId));
  if (accept !== undefined && /\bjson\b/u.test(accept)) {
    const { status, code, title, detail, command } = text;
    const hint = [text.hint, command ?? ''].filter((part) => part !== '').join(' ');
    const problem = { type: 'about:blank', title, status, code, detail, ...(hint === '' ? {} : { hint }), requestId };
    return page('application/problem+json', `${JSON.stringify(problem)}\n`);
  }
  const lines = [`${text.status} ${text.title}`, text.detail, [text.hint, text.command ?? ''].join(' ').trim(), `Request ${requestId}`];
  return page('text/plain; charset=utf-8', `${lines.filter((line) => line !== '').join('\n')}\n`);
}
