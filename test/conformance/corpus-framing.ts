// Where a message ends: lengths, chunks, line ends, fields. Two parties that disagree here let one client write another one's request.

import { HOST, get, passes, post, refuses, request, shown, understood } from './message.ts';
import type { Message } from './message.ts';

const hidden = `GET /hidden HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
const codes = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index);
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]/u;

const lengths: readonly Message[] = [
  ...[
    '+5',
    '-5',
    '5 5',
    '5,5',
    '5, 5',
    '0x5',
    '5.0',
    '5e0',
    '',
    'five',
    '5;',
    '"5"',
    '5\t5',
    '_5',
    '5_',
    '1'.repeat(16),
    '9'.repeat(40),
  ].map((value) => refuses(`Content-Length ${JSON.stringify(value)}`, post([`Content-Length: ${value}`], 'hello'))),
  passes('Content-Length with white space around it', post(['Content-Length: \t 5 \t'], 'hello'), understood('POST', '/post', 'hello')),
  passes('Content-Length without white space', post(['Content-Length:5'], 'hello'), understood('POST', '/post', 'hello')),
  passes('Content-Length with leading zeros', post(['Content-Length: 0005'], 'hello'), understood('POST', '/post', 'hello')),
  passes('a name in capitals', post(['CONTENT-LENGTH: 5'], 'hello'), understood('POST', '/post', 'hello')),
  refuses('two equal Content-Lengths', post(['Content-Length: 5', 'Content-Length: 5'], 'hello')),
  refuses('two different Content-Lengths', post(['Content-Length: 5', 'Content-Length: 0'], 'hello')),
  refuses('two Content-Lengths in different spellings', post(['Content-Length: 0', 'content-LENGTH: 5'], 'hello')),
  refuses('Content-Length and chunked', post(['Content-Length: 5', 'Transfer-Encoding: chunked'], '0\r\n\r\n')),
  refuses('chunked and Content-Length', post(['Transfer-Encoding: chunked', 'Content-Length: 5'], '0\r\n\r\n')),
  refuses('Content-Length 0 and chunked', post(['Content-Length: 0', 'Transfer-Encoding: chunked'], `0\r\n\r\n${hidden}`)),
  refuses('Content-Length and identity', post(['Content-Length: 5', 'Transfer-Encoding: identity'], 'hello')),
  passes('Content_Length is another field', post(['Content_Length: 5'], ''), understood('POST', '/post')),
  passes('X-Content-Length is another field', post(['X-Content-Length: 5'], ''), understood('POST', '/post')),
  passes('a GET with a body', request('GET /get HTTP/1.1', ['Content-Length: 5'], 'hello'), understood('GET', '/get', 'hello')),
  passes('a DELETE with a body', request('DELETE /d HTTP/1.1', ['Content-Length: 5'], 'hello'), understood('DELETE', '/d', 'hello')),
  passes('a POST without a length has no body', post([], hidden), understood('POST', '/post'), understood('GET', '/hidden')),
  passes('a body that looks like a request', post([`Content-Length: ${hidden.length}`], hidden), understood('POST', '/post', hidden)),
];

const encodings: readonly Message[] = [
  ...[
    'identity',
    'gzip',
    'gzip, chunked',
    'chunked, gzip',
    'chunked, chunked',
    'chunked,',
    ',chunked',
    'xchunked',
    'chunkedx',
    'chunked;q=1',
  ].map((value) => refuses(`Transfer-Encoding ${value}`, post([`Transfer-Encoding: ${value}`], '0\r\n\r\n'))),
  ...['"chunked"', 'chun ked', '', 'cow', 'chunked identity', 'deflate', 'compress', 'trailers', '\xa0chunked', 'chunked\xff'].map(
    (value) => refuses(`Transfer-Encoding ${JSON.stringify(value)}`, post([`Transfer-Encoding: ${value}`], '0\r\n\r\n')),
  ),
  ...['\x0bchunked', 'chunked\x0b', 'chunked\x00', '\x00chunked', '\x0cchunked', 'chunked\x7f'].map((value) =>
    refuses(`Transfer-Encoding ${JSON.stringify(value)}`, post([`Transfer-Encoding: ${value}`], '0\r\n\r\n')),
  ),
  ...['CHUNKED', 'Chunked', ' chunked', '\tchunked', 'chunked ', 'chunked\t'].map((value) =>
    passes(
      `Transfer-Encoding ${JSON.stringify(value)}`,
      post([`Transfer-Encoding:${value}`], '2\r\nhi\r\n0\r\n\r\n'),
      understood('POST', '/post', 'hi'),
    ),
  ),
  refuses('two Transfer-Encodings', post(['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], '0\r\n\r\n')),
  refuses('chunked and identity in two fields', post(['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], '0\r\n\r\n')),
  refuses('identity and chunked in two fields', post(['Transfer-Encoding: identity', 'Transfer-Encoding: chunked'], '0\r\n\r\n')),
  refuses('chunked in HTTP/1.0', request('POST /post HTTP/1.0', ['Transfer-Encoding: chunked'], '0\r\n\r\n')),
  ...['Transfer-Encoding : chunked', 'Transfer-Encoding\t: chunked', ' Transfer-Encoding: chunked', '\tTransfer-Encoding: chunked'].map(
    (line) => refuses(`the line ${JSON.stringify(line)}`, post([line], '0\r\n\r\n')),
  ),
  ...[
    'Transfer-Encoding\x00: chunked',
    'Transfer-Encoding\x0b: chunked',
    'Transfer Encoding: chunked',
    'Transfer-Encoding',
    ': chunked',
  ].map((line) => refuses(`the line ${JSON.stringify(line)}`, post([line], '0\r\n\r\n'))),
  refuses('a folded Transfer-Encoding', post(['Transfer-Encoding:\r\n chunked'], '0\r\n\r\n')),
  refuses('a folded Transfer-Encoding with a tab', post(['Transfer-Encoding:\r\n\tchunked'], '0\r\n\r\n')),
  refuses('a length folded into another field', post(['X: 1\r\n Content-Length: 5'], 'hello')),
  passes('Transfer_Encoding is another field', post(['Transfer_Encoding: chunked'], ''), understood('POST', '/post')),
  refuses('Connection names Transfer-Encoding', post(['Connection: transfer-encoding', 'Transfer-Encoding: chunked'], '0\r\n\r\n')),
  refuses('Connection names Content-Length', post(['Connection: content-length', 'Content-Length: 5'], 'hello')),
  refuses('Connection names Host', get('/get', 'Connection: close, host')),
];

const chunked = (body: string): string => post(['Transfer-Encoding: chunked'], body);
const whole = (body: string): readonly [ReturnType<typeof understood>] => [understood('POST', '/post', body)];

const chunks: readonly Message[] = [
  ...[
    '-1',
    '+1',
    '0x1',
    ' 1',
    '1 ',
    '1\t',
    '',
    'g',
    '1g',
    '1.0',
    '1_',
    '\x001',
    '1\x00',
    '1\x0b',
    ';a',
    '1 ;a',
    '10000000000000000',
    'f'.repeat(13),
  ].map((size) => refuses(`chunk size ${JSON.stringify(size)}`, chunked(`${size}\r\na\r\n0\r\n\r\n`))),
  passes('a chunk size with leading zeros', chunked('0001\r\na\r\n000\r\n\r\n'), ...whole('a')),
  passes('a chunk size in capitals', chunked('A\r\n0123456789\r\n0\r\n\r\n'), ...whole('0123456789')),
  passes('many chunks', chunked(`${'1\r\na\r\n'.repeat(300)}0\r\n\r\n`), ...whole('a'.repeat(300))),
  passes('a body that looks like an end', chunked('5\r\n0\r\n\r\n\r\n0\r\n\r\n'), ...whole('0\r\n\r\n')),
  ...[';a', ';a=b', ';a="b c"', ';a;b=c', ';a="\\""'].map((extension) =>
    passes(`chunk extension ${extension}`, chunked(`1${extension}\r\na\r\n0${extension}\r\n\r\n`), ...whole('a')),
  ),
  ...[';', ';=b', ';a=', '; a', ';a =b', ';a="b', ';a=b"', ';a\n', ';\na', ';a\x00', ';a=b\x0bc', ';a=\xe9', ';,', ';a="\n"'].map(
    (extension) => refuses(`chunk extension ${JSON.stringify(extension)}`, chunked(`1${extension}\r\na\r\n0\r\n\r\n`)),
  ),
  refuses('chunk extensions without end', chunked(`1;a=${'b'.repeat(2_000)}\r\na\r\n0\r\n\r\n`)),
  refuses('many small chunk extensions', chunked(`${'1;abcdefgh\r\na\r\n'.repeat(200)}0\r\n\r\n`)),
  refuses('a chunk size that ends with LF', chunked('1\na\r\n0\r\n\r\n')),
  refuses('a chunk size that ends with CR', chunked('1\ra\r\n0\r\n\r\n')),
  refuses('a chunk size that ends with CRCRLF', chunked('1\r\r\na\r\n0\r\n\r\n')),
  refuses('a chunk that ends with LF', chunked('1\r\na\n0\r\n\r\n')),
  refuses('a chunk that ends with CR', chunked('1\r\na\r0\r\n\r\n')),
  refuses('a chunk that is longer than its size', chunked('1\r\nab\r\n0\r\n\r\n')),
  refuses('a chunk that is longer by a hidden request', chunked(`1\r\na${hidden}`)),
  refuses('a last chunk that ends with LF', chunked('1\r\na\r\n0\n\r\n')),
  refuses('a trailer section that ends with LF', chunked('1\r\na\r\n0\r\n\n')),
  refuses('a trailer line that ends with LF', chunked('1\r\na\r\n0\r\nX: 1\n\r\n')),
  refuses('a trailer with a space before the colon', chunked('1\r\na\r\n0\r\nX : 1\r\n\r\n')),
  refuses('a folded trailer', chunked('1\r\na\r\n0\r\nX: 1\r\n 2\r\n\r\n')),
  refuses('a trailer with a NUL', chunked('1\r\na\r\n0\r\nX: \x001\r\n\r\n')),
  refuses('a trailer without a colon', chunked('1\r\na\r\n0\r\nX\r\n\r\n')),
  refuses('trailers without end', chunked(`1\r\na\r\n0\r\n${`X: ${'y'.repeat(200)}\r\n`.repeat(60)}\r\n`)),
  passes('a trailer', chunked('1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n'), ...whole('a')),
  passes('a Content-Length in the trailer', chunked('1\r\na\r\n0\r\nContent-Length: 50\r\n\r\n'), ...whole('a')),
  passes('a Transfer-Encoding in the trailer', chunked('1\r\na\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n'), ...whole('a')),
  passes('a Host in the trailer', chunked('1\r\na\r\n0\r\nHost: evil.example\r\n\r\n'), ...whole('a')),
  passes('a request behind a chunked one', `${chunked('1\r\na\r\n0\r\n\r\n')}${hidden}`, ...whole('a'), understood('GET', '/hidden')),
];

const lineEnds: readonly Message[] = [
  refuses('LF behind the request line', `GET / HTTP/1.1\nHost: ${HOST}\r\n\r\n`),
  refuses('LF behind a field', `GET / HTTP/1.1\r\nHost: ${HOST}\nX: 1\r\n\r\n`),
  refuses('LF alone everywhere', `GET / HTTP/1.1\nHost: ${HOST}\n\n`),
  refuses('LF as the empty line', `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\n`),
  refuses('CR behind the request line', `GET / HTTP/1.1\rHost: ${HOST}\r\n\r\n`),
  refuses('CR behind a field', `GET / HTTP/1.1\r\nHost: ${HOST}\rX: 1\r\n\r\n`),
  refuses('CRCRLF behind a field', `GET / HTTP/1.1\r\nHost: ${HOST}\r\r\n\r\n`),
  refuses('CRCRLF behind the request line', `GET / HTTP/1.1\r\r\nHost: ${HOST}\r\n\r\n`),
  refuses('LF inside a value', get('/', `X: a\nContent-Length: ${hidden.length}`)),
  refuses('LFCR behind a field', `GET / HTTP/1.1\r\nHost: ${HOST}\n\rX: 1\r\n\r\n`),
  refuses('a field before the request line', `X: 1\r\nGET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
  refuses('a space before the request line', ` GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
  refuses('two empty lines before the request line', `\r\n\r\nGET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
  refuses('an empty line with LF before the request line', `\nGET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
  passes('an empty line before the request line', `\r\n${get('/')}`, understood('GET', '/')),
  passes('an empty line between requests', `${get('/a')}\r\n${get('/b')}`, understood('GET', '/a'), understood('GET', '/b')),
];

const characters: readonly Message[] = [
  ...codes(0, 127)
    .filter((code) => !TOKEN.test(String.fromCharCode(code)) && code !== 58)
    .map((code) => refuses(`${shown(code)} in a field name`, get('/', `X${String.fromCharCode(code)}Y: 1`))),
  ...[128, 160, 233, 255].map((code) => refuses(`${shown(code)} in a field name`, get('/', `X${String.fromCharCode(code)}Y: 1`))),
  ...[...codes(0, 8), ...codes(10, 31), 127].map((code) =>
    refuses(`${shown(code)} in a value`, get('/', `X: a${String.fromCharCode(code)}b`)),
  ),
  ...[9, 32, 34, 128, 160, 255].map((code) =>
    passes(`${shown(code)} in a value`, get('/', `X: a${String.fromCharCode(code)}b`), understood('GET', '/')),
  ),
  ...[...codes(0, 31), 34, 40, 41, 44, 47, 58, 59, 60, 61, 62, 63, 64, 91, 92, 93, 123, 125, 127, 128, 255].map((code) =>
    refuses(`${shown(code)} in the method`, request(`G${String.fromCharCode(code)}T / HTTP/1.1`)),
  ),
  refuses('an empty field name', get('/', ': 1')),
  refuses('a field line without a colon', get('/', 'X')),
  refuses('a field line that begins with a colon and a space', get('/', ':X: 1')),
  refuses('a folded field', get('/', 'X: 1\r\n 2')),
  refuses('a fold behind the request line', `GET / HTTP/1.1\r\n X: 1\r\nHost: ${HOST}\r\n\r\n`),
  passes('an empty value', get('/', 'X:'), understood('GET', '/')),
  passes('a value of white space', get('/', 'X: \t '), understood('GET', '/')),
  passes('100 fields', get('/', ...codes(1, 100).map((index) => `X-${index}: ${index}`)), understood('GET', '/')),
  refuses('200 fields', get('/', ...codes(1, 200).map((index) => `X-${index}: ${index}`)), 431),
  refuses('a value of 40 KiB', get('/', `X: ${'x'.repeat(40 * 1024)}`), 431),
  refuses('a name of 40 KiB', get('/', `${'x'.repeat(40 * 1024)}: 1`), 431),
];

export const FRAMING: readonly Message[] = [...lengths, ...encodings, ...chunks, ...lineEnds, ...characters];
