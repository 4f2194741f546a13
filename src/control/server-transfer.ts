// Raw bytes in and out: the Range header (RFC 9110 §14, a single range) and the headers of a partial reply.

import { Failure } from '../lib/failure.ts';
import { HttpFailure } from './server-problem.ts';
import type { Download } from './handler.ts';

export interface ByteRange {
  readonly start: number;
  readonly end: number | undefined;
}

/** The single range that is asked for; null for none, and for forms that a server may ignore (several ranges, suffixes, other units). */
export function parseRange(header: string | undefined): ByteRange | null {
  const match = /^bytes=(\d{1,15})-(\d{0,15})$/u.exec(header?.trim() ?? '');
  if (match === null) return null;
  const start = Number(match[1]);
  const end = match[2] === undefined || match[2] === '' ? undefined : Number(match[2]);
  return end !== undefined && end < start ? null : { start, end };
}

export interface DownloadHead {
  readonly status: 200 | 206;
  readonly headers: Readonly<Record<string, string>>;
}

/** Status and headers for what the handler opened; throws the 416 problem where the range begins behind the end. */
export function downloadHead(download: Download, range: ByteRange | null): DownloadHead {
  const { sizeBytes } = download;
  const common = { 'content-type': 'application/octet-stream', 'accept-ranges': 'bytes' };
  if (range === null) return { status: 200, headers: { ...common, 'content-length': String(sizeBytes) } };
  if (range.start >= sizeBytes) {
    throw new HttpFailure(
      new Failure('invalid_input', { message: `The range begins at byte ${range.start}, but there are only ${sizeBytes}.` }),
      416,
      { 'content-range': `bytes */${sizeBytes}` },
    );
  }
  const end = Math.min(range.end ?? sizeBytes - 1, sizeBytes - 1);
  return {
    status: 206,
    headers: {
      ...common,
      'content-length': String(end - range.start + 1),
      'content-range': `bytes ${range.start}-${end}/${sizeBytes}`,
    },
  };
}
