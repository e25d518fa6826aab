"""What `caffe_layers.gradcheck` works with.

``cases`` says what is checked, of a net or alone, and ``subject`` shows it to the checks of
`soft_dice.checker`.  ``rig`` runs one layer in real nets and on float64 stand-ins for its blobs;
``worker`` is the process that happens in, where Caffe may abort.
"""
