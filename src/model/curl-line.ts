// A request as people write it: an URL, or a line of curl as it stands in their terminal or comes from a browser's "copy as cURL".

import { splitCommand } from './command.ts';

export interface WrittenRequest {
  readonly method: string;
  readonly url: URL;
  /** Names and values as they were written, Host among them where it was. */
  readonly headers: readonly (readonly [string, string])[];
}

export type CurlLine = { readonly ok: true; readonly request: WrittenRequest } | { readonly ok: false; readonly message: string };

/** Options that take a value and change nothing that a Route could ask for. */
const WITH_VALUE: ReadonlySet<string> = new Set([
  '-o',
  '--output',
  '-m',
  '--max-time',
  '--connect-timeout',
  '--resolve',
  '--connect-to',
  '--cacert',
  '--cert',
  '--key',
  '-w',
  '--write-out',
  '--retry',
  '-x',
  '--proxy',
  '-c',
  '--cookie-jar',
  '-D',
  '--dump-header',
  '--limit-rate',
  '-r',
  '--range',
  '-Y',
  '-y',
  '-z',
  '--time-cond',
  '-K',
  '--config',
  '--interface',
  '--ciphers',
  '--dns-servers',
]);
const DATA: ReadonlySet<string> = new Set([
  '-d',
  '--data',
  '--data-raw',
  '--data-binary',
  '--data-ascii',
  '--data-urlencode',
  '-F',
  '--form',
  '--json',
]);

const bad = (message: string): CurlLine => ({ ok: false, message });

/** @param words one text with a whole line in it, or the words of one. */
export function parseCurlLine(words: readonly string[]): CurlLine {
  let list = words;
  const [only = ''] = words;
  if (words.length === 1 && /\s/u.test(only.trim())) {
    const split = splitCommand(only.replaceAll(/\\\r?\n/gu, ' ').trim());
    if (!split.ok) return bad(split.message);
    list = split.words;
  }
  if (list[0] === 'curl') list = list.slice(1);
  const headers: [string, string][] = [];
  let method: string | null = null;
  let address: string | null = null;
  let hasData = false;
  let isGet = false;
  for (let index = 0; index < list.length; index += 1) {
    const word = list[index] ?? '';
    if (!word.startsWith('-') || word === '-') {
      if (address !== null) return bad(`there are two URLs: ${address} and ${word}`);
      address = word;
      continue;
    }
    const equals = word.startsWith('--') ? word.indexOf('=') : -1;
    const isShort = !word.startsWith('--') && word.length > 2;
    const name = equals !== -1 ? word.slice(0, equals) : isShort && takesValue(word.slice(0, 2)) ? word.slice(0, 2) : word;
    if (!takesValue(name)) {
      if (name === '-I' || name === '--head') method ??= 'HEAD';
      if (name === '-G' || name === '--get') isGet = true;
      // The others of a group such as -sSI.
      if (isShort && /^-[a-zA-Z]*I/u.test(word)) method ??= 'HEAD';
      continue;
    }
    const value = equals !== -1 ? word.slice(equals + 1) : name === word ? list[(index += 1)] : word.slice(2);
    if (value === undefined) return bad(`${name} has no value`);
    if (name === '-X' || name === '--request') method = value;
    else if (name === '--url') address = value;
    else if (name === '-A' || name === '--user-agent') headers.push(['User-Agent', value]);
    else if (name === '-e' || name === '--referer') headers.push(['Referer', value]);
    else if (name === '-b' || name === '--cookie') headers.push(['Cookie', value]);
    else if (name === '-u' || name === '--user') headers.push(['Authorization', `Basic ${base64(value)}`]);
    else if (name === '-H' || name === '--header') {
      const colon = value.indexOf(':');
      if (colon < 1) return bad(`${name} ${JSON.stringify(value)} is no header: expected "name: value"`);
      headers.push([value.slice(0, colon).trim(), value.slice(colon + 1).trim()]);
    } else if (DATA.has(name)) {
      hasData = true;
      if (name === '--json') headers.push(['Content-Type', 'application/json'], ['Accept', 'application/json']);
    } else if (name === '-T' || name === '--upload-file') method ??= 'PUT';
  }
  if (address === null) return bad('there is no URL');
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//iu.test(address) ? address : `http://${address}`);
  if (url === null || !/^https?:$/u.test(url.protocol)) return bad(`${address} is no URL of http or https`);
  return { ok: true, request: { method: method ?? (hasData && !isGet ? 'POST' : 'GET'), url, headers } };
}

function takesValue(name: string): boolean {
  return (
    WITH_VALUE.has(name) ||
    DATA.has(name) ||
    [
      '-X',
      '--request',
      '--url',
      '-A',
      '--user-agent',
      '-e',
      '--referer',
      '-b',
      '--cookie',
      '-u',
      '--user',
      '-H',
      '--header',
      '-T',
      '--upload-file',
    ].includes(name)
  );
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
