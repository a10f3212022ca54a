namespace Storage.ObjectStore.Disk;

/// <summary>
/// The memory of one process, in which several stores may live: its resident size is held against the sum of their targets, what it holds beside
/// caches counts once, and the rest is divided by target. Thread-safe: stores may be on loops of their own.
/// </summary>
internal sealed class MemoryAccount
{
    private readonly Lock _lock = new();
    private readonly List<Member> _members = [];

    /// <summary>That of this process.</summary>
    public static MemoryAccount Process { get; } = new();

    /// <summary>Adds a store.</summary>
    public Member Join()
    {
        var member = new Member(this);
        lock (_lock)
        {
            _members.Add(member);
        }

        return member;
    }

    /// <summary>A store's part.</summary>
    internal sealed class Member(MemoryAccount account)
    {
        private long _target;
        private MemorySplit _used;

        /// <summary>True for one of the members: it gives back to the system what the process no longer needs.</summary>
        public bool IsFirst
        {
            get
            {
                lock (account._lock)
                {
                    return account._members.Count > 0 && ReferenceEquals(account._members[0], this);
                }
            }
        }

        /// <summary>What the process should have.</summary>
        public long ProcessTarget
        {
            get
            {
                lock (account._lock)
                {
                    return account._members.Sum(static member => member._target);
                }
            }
        }

        /// <summary>Says what the store's caches take, and learns what they may take.</summary>
        /// <param name="target">The store's target.</param>
        /// <param name="resident">What the process has at the moment.</param>
        /// <param name="used">What the store's caches take of that.</param>
        public MemorySplit Divide(long target, long resident, MemorySplit used)
        {
            lock (account._lock)
            {
                (_target, _used) = (target, used);
                long targets = 0;
                long caches = 0;
                foreach (Member member in account._members)
                {
                    targets += member._target;
                    caches += member._used.Sum;
                }

                return MemorySplit.Divide((long)(MemorySplit.Flexible(targets, resident, caches) * ((double)target / targets)), used);
            }
        }

        /// <summary>The store is closed.</summary>
        public void Leave()
        {
            lock (account._lock)
            {
                account._members.Remove(this);
            }
        }
    }
}
