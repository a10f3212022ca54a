using System.Security.Cryptography;
using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;
using Storage.S3.Backend;
using Storage.S3.Protocol;

namespace Storage.S3.Users;

/// <summary>Users of the S3 gateways, kept in the index pool: <c>user.ID</c> the record, <c>key.ACCESSKEY</c> its secret and user.</summary>
public sealed class UserStore
{
    private const string KeyAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    private const string SecretAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    private static readonly TimeSpan s_cacheLife = TimeSpan.FromSeconds(30);
    private readonly Pool _pool;
    private readonly TimeProvider _time;
    private readonly System.Collections.Concurrent.ConcurrentDictionary<string, (KeyRecord? Key, long Expires)> _cache = new(StringComparer.Ordinal);

    /// <summary>Opens the users of a cluster.</summary>
    /// <param name="client">A client that may be called from any thread.</param>
    /// <param name="options">The index pool's name.</param>
    /// <param name="time">The clock.</param>
    public UserStore(IObjectClient client, S3Options options, TimeProvider time)
    {
        _pool = new Pool(client, options.IndexPool);
        _time = time;
    }

    /// <summary>Creates a user with one key pair.</summary>
    /// <param name="id">1 to 64 of letters, digits, '-', '_', '.', '@'.</param>
    /// <param name="displayName">Name for people; the id if empty.</param>
    /// <param name="email">E-mail address, or empty.</param>
    /// <param name="tenant">Tenant, or empty.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The user.</returns>
    /// <exception cref="ArgumentException">The id or tenant is malformed.</exception>
    /// <exception cref="InvalidOperationException">The user exists.</exception>
    public async ValueTask<S3User> CreateAsync(string id, string displayName, string email, string tenant, CancellationToken cancellation)
    {
        CheckName(id, "user id");
        if (tenant.Length > 0)
        {
            CheckName(tenant, "tenant");
        }

        var user = new S3User
        {
            Id = id,
            Tenant = tenant,
            DisplayName = displayName.Length > 0 ? displayName : id,
            Email = email,
            CreatedUnixMilliseconds = _time.GetUtcNow().ToUnixTimeMilliseconds(),
            Keys = [new AccessKeyPair(RandomNumberGenerator.GetString(KeyAlphabet, 20), RandomNumberGenerator.GetString(SecretAlphabet, 40))],
        };

        // The key first: a key of a user that does not exist opens nothing, a user without a key could not be told from one that lost it.
        await WriteKeyAsync(user, user.Keys[0], cancellation);
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.AssertMissing)
            .AddData(OperationCode.WriteFull, 0, Json.Write(user, RecordContext.Default.S3User));
        PoolResult result = await _pool.ExecuteAsync(UserName(user.FullId), operation.Value, cancellation);
        if (result.Code == ResultCode.Exists)
        {
            await _pool.RemoveAsync(KeyName(user.Keys[0].AccessKey), cancellation);
            throw new InvalidOperationException($"user '{user.FullId}' exists");
        }

        result.ThrowUnlessOk("user " + user.FullId);
        return user;
    }

    /// <summary>Finds a user.</summary>
    /// <param name="fullId">Id, or TENANT$ID.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The user, or null.</returns>
    public async ValueTask<S3User?> FindAsync(string fullId, CancellationToken cancellation)
    {
        byte[]? data = await _pool.ReadWholeAsync(UserName(fullId), cancellation);
        return data is null ? null : Json.Read(data, RecordContext.Default.S3User);
    }

    /// <summary>Lists all users.</summary>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>Ordered by full id.</returns>
    public async ValueTask<IReadOnlyList<S3User>> ListAsync(CancellationToken cancellation)
    {
        long pool = await _pool.GetIdAsync(cancellation);
        var users = new List<S3User>();
        await foreach (ObjectId id in _pool.Client.EnumerateObjectsAsync(pool, cancellation))
        {
            if (id.Name.StartsWith("user.", StringComparison.Ordinal) && await FindAsync(id.Name["user.".Length..], cancellation) is { } user)
            {
                users.Add(user);
            }
        }

        users.Sort((a, b) => string.CompareOrdinal(a.FullId, b.FullId));
        return users;
    }

    /// <summary>Removes a user and its keys. Its buckets must be gone.</summary>
    /// <param name="fullId">Id, or TENANT$ID.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>False if there is no such user.</returns>
    /// <exception cref="InvalidOperationException">The user owns buckets.</exception>
    public async ValueTask<bool> RemoveAsync(string fullId, CancellationToken cancellation)
    {
        if (await FindAsync(fullId, cancellation) is not { } user)
        {
            return false;
        }

        OmapPage? buckets = await _pool.ListOmapAsync(UserName(fullId), default, "b:"u8.ToArray(), 1, cancellation);
        if (buckets is { Entries.Count: > 0 })
        {
            throw new InvalidOperationException($"user '{fullId}' owns bucket '{buckets.KeyText(0)[2..]}' and maybe others: remove them first");
        }

        foreach (AccessKeyPair key in user.Keys)
        {
            await _pool.RemoveAsync(KeyName(key.AccessKey), cancellation);
            _cache.TryRemove(key.AccessKey, out _);
        }

        await _pool.RemoveAsync(UserName(fullId), cancellation);
        return true;
    }

    /// <summary>Finds a key's secret; answers are remembered for 30 seconds, so a removed key works on for that long at most.</summary>
    /// <param name="accessKey">The access key.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The secret, or null if there is no such key.</returns>
    public async ValueTask<string?> FindSecretAsync(string accessKey, CancellationToken cancellation) =>
        (await FindKeyAsync(accessKey, cancellation))?.Secret;

    internal async ValueTask<string> OwnerOfAsync(string accessKey, CancellationToken cancellation) =>
        (await FindKeyAsync(accessKey, cancellation))?.User ?? throw new S3Exception(S3Error.InvalidAccessKeyId);

    internal static string UserName(string fullId) => "user." + fullId;

    private async ValueTask<KeyRecord?> FindKeyAsync(string accessKey, CancellationToken cancellation)
    {
        if (accessKey.Length is 0 or > 128)
        {
            return null;
        }

        long now = _time.GetTimestamp();
        if (_cache.TryGetValue(accessKey, out (KeyRecord? Key, long Expires) cached) && now < cached.Expires)
        {
            return cached.Key;
        }

        byte[]? data = await _pool.ReadWholeAsync(KeyName(accessKey), cancellation);
        KeyRecord? key = data is null ? null : Json.Read(data, RecordContext.Default.KeyRecord);
        if (key is not null)
        {
            // Unknown keys are not remembered: a flood of them would fill the memory, and a new key must work at once.
            _cache[accessKey] = (key, now + (long)(s_cacheLife.TotalSeconds * _time.TimestampFrequency));
        }

        return key;
    }

    private async ValueTask WriteKeyAsync(S3User user, AccessKeyPair key, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.AssertMissing).AddData(
            OperationCode.WriteFull, 0, Json.Write(new KeyRecord { User = user.FullId, Secret = key.SecretKey }, RecordContext.Default.KeyRecord));
        (await _pool.ExecuteAsync(KeyName(key.AccessKey), operation.Value, cancellation)).ThrowUnlessOk("key " + key.AccessKey);
    }

    private static string KeyName(string accessKey) => "key." + accessKey;

    private static void CheckName(string name, string what)
    {
        if (name.Length is 0 or > 64 || !name.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.' or '@'))
        {
            throw new ArgumentException($"the {what} '{name}' is not valid: 1 to 64 of letters, digits, '-', '_', '.' and '@'");
        }
    }
}
