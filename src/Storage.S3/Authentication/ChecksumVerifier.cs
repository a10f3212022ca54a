using System.Buffers.Binary;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Http;
using Storage.Coding;
using Storage.S3.Protocol;

namespace Storage.S3.Authentication;

/// <summary>An additional checksum of a body ("Checking object integrity" of the S3 user guide), by header or trailer.</summary>
public sealed class ChecksumVerifier : IDisposable
{
    private static readonly uint[] s_crc32 = MakeTable32(0xEDB88320);
    private static readonly ulong[] s_crc64 = MakeTable64(0x9A6C9329AC4BC9B5);
    private readonly IncrementalHash? _hash;
    private uint _crc32 = uint.MaxValue;
    private uint _crc32C;
    private ulong _crc64 = ulong.MaxValue;

    private ChecksumVerifier(string algorithm, string expected)
    {
        Algorithm = algorithm;
        Expected = expected;
        _hash = algorithm switch
        {
            "SHA1" => IncrementalHash.CreateHash(HashAlgorithmName.SHA1),
            "SHA256" => IncrementalHash.CreateHash(HashAlgorithmName.SHA256),
            _ => null,
        };
    }

    /// <summary>CRC32, CRC32C, CRC64NVME, SHA1 or SHA256.</summary>
    public string Algorithm { get; }

    /// <summary>The header's name in lower case.</summary>
    public string HeaderName => "x-amz-checksum-" + Algorithm.ToLowerInvariant();

    /// <summary>The value the client promised, base64; empty until the trailer came.</summary>
    public string Expected { get; set; }

    /// <summary>Finds the checksum that a request announces.</summary>
    /// <param name="request">The request.</param>
    /// <returns>Its verifier, or null if none is announced.</returns>
    /// <exception cref="S3Exception">More than one, or an unknown one.</exception>
    public static ChecksumVerifier? FromRequest(HttpRequest request)
    {
        ChecksumVerifier? found = null;
        foreach (string algorithm in (ReadOnlySpan<string>)["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
        {
            string name = "x-amz-checksum-" + algorithm.ToLowerInvariant();
            string value = request.Headers[name].ToString();
            bool inTrailer = request.Headers["x-amz-trailer"].ToString().Split(',').Any(part => part.Trim().Equals(name, StringComparison.OrdinalIgnoreCase));
            if (value.Length == 0 && !inTrailer)
            {
                continue;
            }

            if (found is not null)
            {
                throw new S3Exception(S3Error.InvalidRequest, "Expecting a single x-amz-checksum- header.");
            }

            found = new ChecksumVerifier(algorithm, value);
        }

        return found;
    }

    /// <summary>Adds data.</summary>
    /// <param name="data">The next bytes of the body.</param>
    public void Append(ReadOnlySpan<byte> data)
    {
        switch (Algorithm)
        {
            case "CRC32C":
                _crc32C = Crc32C.Compute(data, _crc32C);
                break;
            case "CRC32":
                foreach (byte b in data)
                {
                    _crc32 = s_crc32[(byte)(_crc32 ^ b)] ^ (_crc32 >> 8);
                }

                break;
            case "CRC64NVME":
                foreach (byte b in data)
                {
                    _crc64 = s_crc64[(byte)(_crc64 ^ b)] ^ (_crc64 >> 8);
                }

                break;
            default:
                _hash!.AppendData(data);
                break;
        }
    }

    /// <summary>Compares with what the client promised.</summary>
    /// <exception cref="S3Exception">They differ, or the promised trailer did not come.</exception>
    public void Verify()
    {
        Span<byte> value = stackalloc byte[32];
        int length;
        switch (Algorithm)
        {
            case "CRC32C":
                BinaryPrimitives.WriteUInt32BigEndian(value, _crc32C);
                length = 4;
                break;
            case "CRC32":
                BinaryPrimitives.WriteUInt32BigEndian(value, ~_crc32);
                length = 4;
                break;
            case "CRC64NVME":
                BinaryPrimitives.WriteUInt64BigEndian(value, ~_crc64);
                length = 8;
                break;
            default:
                length = _hash!.GetHashAndReset(value);
                break;
        }

        if (Convert.ToBase64String(value[..length]) != Expected)
        {
            throw new S3Exception(S3Error.BadDigest, $"The {Algorithm} you specified did not match the calculated checksum.");
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _hash?.Dispose();

    private static uint[] MakeTable32(uint polynomial)
    {
        var table = new uint[256];
        for (uint i = 0; i < 256; i++)
        {
            uint value = i;
            for (int bit = 0; bit < 8; bit++)
            {
                value = (value >> 1) ^ ((value & 1) * polynomial);
            }

            table[i] = value;
        }

        return table;
    }

    private static ulong[] MakeTable64(ulong polynomial)
    {
        var table = new ulong[256];
        for (uint i = 0; i < 256; i++)
        {
            ulong value = i;
            for (int bit = 0; bit < 8; bit++)
            {
                value = (value >> 1) ^ ((value & 1) * polynomial);
            }

            table[i] = value;
        }

        return table;
    }
}
