using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Storage.S3.Protocol;

namespace Storage.S3.Authentication;

/// <summary>
/// Reads a request's body, taking the aws-chunked framing off ("Signature Calculations for the Authorization Header:
/// Transferring Payload in Multiple Chunks"), and checks what vouches for it: the payload's SHA-256, chunk and trailer
/// signatures, Content-MD5 and the additional checksums. Nothing may be committed before <see cref="ReadAsync"/> returned 0.
/// </summary>
public sealed class PayloadReader : IDisposable
{
    private const int BufferBytes = 64 << 10;
    private const int LongestLine = 8 << 10;
    private const string EmptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    private readonly Stream _body;
    private readonly AuthenticatedRequest _request;
    private readonly bool _chunked;
    private readonly IncrementalHash _md5 = IncrementalHash.CreateHash(HashAlgorithmName.MD5);
    private readonly IncrementalHash? _sha256;
    private readonly IncrementalHash? _chunkSha256;
    private readonly byte[]? _expectedMd5;
    private readonly long _declaredLength;
    private ChecksumVerifier? _checksum;
    private byte[]? _md5Result;
    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
    private int _start;
    private int _end;
    private long _chunkLeft;
    private string _chunkSignature = "";
    private string _previousSignature;
    private bool _inChunk;
    private bool _finished;

    /// <summary>Prepares to read a body.</summary>
    /// <param name="body">The raw body.</param>
    /// <param name="request">The request's checked signature.</param>
    /// <param name="declaredLength">Length of the data itself if the client said it, else -1.</param>
    /// <param name="contentMd5">The Content-MD5 header, or empty.</param>
    /// <param name="checksum">The additional checksum announced, or null.</param>
    public PayloadReader(Stream body, AuthenticatedRequest request, long declaredLength, string contentMd5, ChecksumVerifier? checksum)
    {
        _body = body;
        _request = request;
        _declaredLength = declaredLength;
        _checksum = checksum;
        _previousSignature = request.SeedSignature;
        _chunked = request.Payload is PayloadMode.SignedChunks or PayloadMode.SignedChunksWithTrailer or PayloadMode.UnsignedChunksWithTrailer;
        _sha256 = request.Payload == PayloadMode.Signed ? IncrementalHash.CreateHash(HashAlgorithmName.SHA256) : null;
        _chunkSha256 = request.Payload is PayloadMode.SignedChunks or PayloadMode.SignedChunksWithTrailer ? IncrementalHash.CreateHash(HashAlgorithmName.SHA256) : null;
        if (contentMd5.Length > 0)
        {
            _expectedMd5 = new byte[16];
            if (!Convert.TryFromBase64String(contentMd5, _expectedMd5, out int written) || written != 16)
            {
                throw new S3Exception(S3Error.InvalidDigest);
            }
        }
    }

    /// <summary>Bytes of data read so far.</summary>
    public long BytesRead { get; private set; }

    /// <summary>MD5 of the data; known once <see cref="ReadAsync"/> returned 0.</summary>
    public ReadOnlySpan<byte> Md5 => _md5Result;

    /// <summary>The additional checksum that was verified, or null.</summary>
    public ChecksumVerifier? Checksum => _checksum;

    /// <summary>Reads data.</summary>
    /// <param name="destination">Filled from its start; not empty.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <returns>Bytes read; 0 at the end, when everything was verified.</returns>
    /// <exception cref="S3Exception">The body is malformed, incomplete, or not what was signed.</exception>
    public async ValueTask<int> ReadAsync(Memory<byte> destination, CancellationToken cancellation)
    {
        if (_finished)
        {
            return 0;
        }

        int count = _chunked ? await ReadChunkedAsync(destination, cancellation) : await ReadPlainAsync(destination, cancellation);
        if (count > 0)
        {
            ReadOnlySpan<byte> data = destination.Span[..count];
            BytesRead += count;
            _md5.AppendData(data);
            _sha256?.AppendData(data);
            _chunkSha256?.AppendData(data);
            _checksum?.Append(data);
            return count;
        }

        Finish();
        return 0;
    }

    /// <summary>Reads the whole body of a small request.</summary>
    /// <param name="limit">The most bytes accepted.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <returns>The data.</returns>
    /// <exception cref="S3Exception">It is longer than the limit, or not what was signed.</exception>
    public async ValueTask<byte[]> ReadAllAsync(int limit, CancellationToken cancellation)
    {
        var data = new ArrayBufferWriter<byte>();
        int count;
        while ((count = await ReadAsync(data.GetMemory(4096), cancellation)) > 0)
        {
            data.Advance(count);
            if (data.WrittenCount > limit)
            {
                throw new S3Exception(S3Error.EntityTooLarge, $"The request's document is larger than {limit} bytes.");
            }
        }

        return data.WrittenSpan.ToArray();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _md5.Dispose();
        _sha256?.Dispose();
        _chunkSha256?.Dispose();
        _checksum?.Dispose();
        if (_buffer.Length > 0)
        {
            ArrayPool<byte>.Shared.Return(_buffer);
            _buffer = [];
        }
    }

    private async ValueTask<int> ReadPlainAsync(Memory<byte> destination, CancellationToken cancellation) =>
        await _body.ReadAsync(destination, cancellation);

    private async ValueTask<int> ReadChunkedAsync(Memory<byte> destination, CancellationToken cancellation)
    {
        if (_inChunk && _chunkLeft == 0)
        {
            await ExpectLineEndAsync(cancellation);
            CheckChunkSignature();
            _inChunk = false;
        }

        if (!_inChunk)
        {
            await ReadChunkHeaderAsync(cancellation);
            if (_chunkLeft == 0)
            {
                CheckChunkSignature();
                await ReadTrailerAsync(cancellation);
                return 0;
            }
        }

        int wanted = (int)Math.Min(destination.Length, _chunkLeft);
        int count;
        if (_end > _start)
        {
            count = Math.Min(wanted, _end - _start);
            _buffer.AsSpan(_start, count).CopyTo(destination.Span);
            _start += count;
        }
        else
        {
            count = await _body.ReadAsync(destination[..wanted], cancellation);
            if (count == 0)
            {
                throw new S3Exception(S3Error.IncompleteBody);
            }
        }

        _chunkLeft -= count;
        return count;
    }

    private async ValueTask ReadChunkHeaderAsync(CancellationToken cancellation)
    {
        string line = await ReadLineAsync(cancellation);
        int semicolon = line.IndexOf(';', StringComparison.Ordinal);
        string size = semicolon < 0 ? line : line[..semicolon];
        if (size.Length is 0 or > 12 || !long.TryParse(size, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out _chunkLeft))
        {
            throw new S3Exception(S3Error.InvalidRequest, "The body is not aws-chunked: a chunk's size is missing or wrong.");
        }

        const string Mark = "chunk-signature=";
        int at = line.IndexOf(Mark, StringComparison.Ordinal);
        _chunkSignature = at < 0 ? "" : line[(at + Mark.Length)..].Trim();
        _inChunk = true;
    }

    private void CheckChunkSignature()
    {
        if (_chunkSha256 is null)
        {
            return;
        }

        string hash = Convert.ToHexStringLower(_chunkSha256.GetHashAndReset());
        string toSign = $"AWS4-HMAC-SHA256-PAYLOAD\n{_request.Timestamp}\n{_request.Scope}\n{_previousSignature}\n{EmptySha256}\n{hash}";
        string expected = SignatureV4.Sign(_request.SigningKey, toSign);
        if (!SignatureV4.SignaturesEqual(expected, _chunkSignature))
        {
            throw new S3Exception(S3Error.SignatureDoesNotMatch, "The signature of a chunk of the body does not match.");
        }

        _previousSignature = expected;
    }

    private async ValueTask ReadTrailerAsync(CancellationToken cancellation)
    {
        var signedText = new StringBuilder();
        string signature = "";
        string line;
        while ((line = await ReadLineAsync(cancellation, endAllowed: true)).Length > 0)
        {
            int colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon <= 0 || signedText.Length > LongestLine)
            {
                throw new S3Exception(S3Error.InvalidRequest, "The trailer of the body is malformed.");
            }

            string name = line[..colon].Trim().ToLowerInvariant();
            string value = line[(colon + 1)..].Trim();
            if (name == "x-amz-trailer-signature")
            {
                signature = value;
                continue;
            }

            signedText.Append(name).Append(':').Append(value).Append('\n');
            if (_checksum is not null && name == _checksum.HeaderName)
            {
                _checksum.Expected = value;
            }
        }

        if (_request.Payload == PayloadMode.SignedChunksWithTrailer)
        {
            string hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(signedText.ToString())));
            string toSign = $"AWS4-HMAC-SHA256-TRAILER\n{_request.Timestamp}\n{_request.Scope}\n{_previousSignature}\n{hash}";
            if (!SignatureV4.SignaturesEqual(SignatureV4.Sign(_request.SigningKey, toSign), signature))
            {
                throw new S3Exception(S3Error.SignatureDoesNotMatch, "The signature of the body's trailer does not match.");
            }
        }
    }

    private async ValueTask ExpectLineEndAsync(CancellationToken cancellation)
    {
        if ((await ReadLineAsync(cancellation)).Length > 0)
        {
            throw new S3Exception(S3Error.InvalidRequest, "The body is not aws-chunked: a chunk is longer than it said.");
        }
    }

    private async ValueTask<string> ReadLineAsync(CancellationToken cancellation, bool endAllowed = false)
    {
        int searched = 0;
        while (true)
        {
            int newline = _buffer.AsSpan(_start + searched, _end - _start - searched).IndexOf((byte)'\n');
            if (newline >= 0)
            {
                int length = searched + newline;
                string line = Encoding.ASCII.GetString(_buffer, _start, length).TrimEnd('\r');
                _start += length + 1;
                return line;
            }

            searched = _end - _start;
            if (searched > LongestLine)
            {
                throw new S3Exception(S3Error.InvalidRequest, "The body is not aws-chunked: a chunk header is too long.");
            }

            _buffer.AsSpan(_start, searched).CopyTo(_buffer);
            _start = 0;
            _end = searched;
            int count = await _body.ReadAsync(_buffer.AsMemory(_end), cancellation);
            if (count == 0)
            {
                return endAllowed && searched == 0 ? "" : throw new S3Exception(S3Error.IncompleteBody);
            }

            _end += count;
        }
    }

    private void Finish()
    {
        _finished = true;
        if (_declaredLength >= 0 && BytesRead != _declaredLength)
        {
            throw new S3Exception(S3Error.IncompleteBody);
        }

        _md5Result = _md5.GetHashAndReset();
        if (_sha256 is not null && Convert.ToHexStringLower(_sha256.GetHashAndReset()) != _request.PayloadSha256)
        {
            throw new S3Exception(S3Error.XAmzContentSHA256Mismatch);
        }

        if (_expectedMd5 is not null && !_expectedMd5.AsSpan().SequenceEqual(_md5Result))
        {
            throw new S3Exception(S3Error.BadDigest);
        }

        _checksum?.Verify();
    }
}
