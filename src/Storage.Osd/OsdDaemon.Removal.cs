using Storage.Cluster;
using Storage.ObjectStore;

namespace Storage.Osd;

// Copies that nobody needs any more go in small steps among the OSD's background work. The first step marks the copy, durably: from
// then on it answers for nothing, and a restart goes on with it.
public sealed partial class OsdDaemon
{
    private readonly Dictionary<PgId, Removal> _removals = [];

    /// <summary>Copies of PGs that are being removed.</summary>
    public int RemovalsUnderWay => _removals.Count;

    private void BeginRemoval(PgId group, bool isMarked)
    {
        var removal = new Removal(this, group);
        if (!_removals.TryAdd(group, removal))
        {
            return;
        }

        if (!isMarked)
        {
            var transaction = new Transaction();
            PlacementGroup.MarkForRemoval(transaction, group);
            _store.Submit(transaction, null, 0);
        }

        _work.Submit(removal.Work, removal, WorkClass.Trim, 0, _loop.Now);
        DeferWork();
    }

    // The PG has come back to this OSD: its new copy begins empty, and the old one goes at once.
    private void FinishRemoval(PgId group)
    {
        if (_removals.Remove(group, out Removal? removal))
        {
            removal.IsOver = true;
            _rarePaths.Reached(RarePath.RemovalCutShort);
            _work.CancelAll(removal.Work);
            var transaction = new Transaction();
            transaction.RemoveCollection(new CollectionId(group));
            _store.Submit(transaction, null, 0);
        }
    }

    private sealed class Removal(OsdDaemon daemon, PgId group) : WorkItem, IStoreCompletion
    {
        private readonly List<ObjectId> _objects = [];
        private readonly Transaction _transaction = new();

        public WorkOwner Work { get; } = new();

        public bool IsOver { get; set; }

        protected internal override bool Run()
        {
            var collection = new CollectionId(group);
            _objects.Clear();
            bool more = daemon._store.ListObjects(collection, null, daemon._options.RemovalObjects, _objects);
            foreach (ObjectId id in _objects)
            {
                if (id != PlacementGroup.MetaObject)
                {
                    _transaction.Remove(collection, id);
                }
            }

            if (!more)
            {
                _transaction.RemoveCollection(collection);
                daemon._removals.Remove(group);
                IsOver = true;
            }

            daemon._store.Submit(_transaction, this, 0);
            _transaction.Clear();
            return IsOver;
        }

        void IStoreCompletion.OnCommitted(ulong token)
        {
            if (!IsOver && daemon._running)
            {
                daemon._work.Finish(this, daemon._loop.Now);
                daemon._work.Submit(Work, this, WorkClass.Trim, 0, daemon._loop.Now);
                daemon.DeferWork();
            }
        }
    }
}
