"""What `caffe_layers.gradcheck` works with.

``rig`` runs one layer in real nets and on float64 stand-ins for its blobs; ``worker`` is the
process that happens in, where Caffe may abort.
"""
